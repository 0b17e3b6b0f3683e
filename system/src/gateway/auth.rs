//! Bearer tokens: HS256 JWTs that all gateways can check with the one key they share.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::extract::FromRequestParts;
use axum::http::header;
use axum::http::request::Parts;
use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::{Deserialize, Serialize};

use super::Gateway;
use crate::error::{Code, Problem, Result};

/// How long a token is good.
pub(super) const LIFETIME: Duration = Duration::from_secs(3600);

pub(super) struct Tokens {
    encoding: EncodingKey,
    decoding: DecodingKey,
    validation: Validation,
}

/// Who sends the request, as their token says.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Caller {
    #[serde(rename = "sub")]
    pub(super) username: String,
    pub(super) student_id: i64,
}

#[derive(Debug, Serialize)]
struct Claims {
    #[serde(flatten)]
    caller: Caller,
    iat: u64,
    exp: u64,
}

impl Tokens {
    pub(super) fn new(secret: &str) -> Self {
        // HS256 and nothing else: a token that names its own algorithm (`none` above all) is not asked.
        let mut validation = Validation::new(Algorithm::HS256);
        validation.leeway = 0;
        Self {
            encoding: EncodingKey::from_secret(secret.as_bytes()),
            decoding: DecodingKey::from_secret(secret.as_bytes()),
            validation,
        }
    }

    pub(super) fn issue(&self, caller: Caller) -> Result<String> {
        let iat = SystemTime::now().duration_since(UNIX_EPOCH).map_err(Problem::internal)?.as_secs();
        let claims = Claims { caller, iat, exp: iat + LIFETIME.as_secs() };
        jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, &self.encoding)
            .map_err(Problem::internal)
    }

    fn check(&self, token: &str) -> Result<Caller> {
        // The library itself reads and checks the time claims.
        match jsonwebtoken::decode::<Caller>(token, &self.decoding, &self.validation) {
            Ok(data) => Ok(data.claims),
            Err(error) if *error.kind() == ErrorKind::ExpiredSignature => Err(Code::TokenExpired.into()),
            Err(_) => Err(Code::InvalidToken.into()),
        }
    }
}

impl FromRequestParts<Arc<Gateway>> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, gateway: &Arc<Gateway>) -> Result<Self> {
        let header = parts.headers.get(header::AUTHORIZATION).ok_or(Code::MissingCredentials)?;
        let header = header.to_str().map_err(|_| Code::InvalidToken)?;
        let (scheme, token) = header.split_once(' ').unwrap_or((header, ""));
        if !scheme.eq_ignore_ascii_case("bearer") || token.trim().is_empty() {
            return Err(Code::MissingCredentials.into());
        }
        gateway.tokens.check(token.trim())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "0123456789abcdef0123456789abcdef";

    fn caller() -> Caller {
        Caller { username: "student1".into(), student_id: 1 }
    }

    #[test]
    fn an_issued_token_tells_who_it_is_for() {
        let tokens = Tokens::new(KEY);
        let token = tokens.issue(caller()).unwrap();
        assert_eq!(tokens.check(&token).unwrap().student_id, 1);
    }

    #[test]
    fn a_token_of_another_key_or_an_old_one_is_refused() {
        let tokens = Tokens::new(KEY);
        let foreign = Tokens::new("ffffffffffffffffffffffffffffffff").issue(caller()).unwrap();
        assert_eq!(tokens.check(&foreign).unwrap_err().code(), Code::InvalidToken);
        let old = Claims { caller: caller(), iat: 1, exp: 2 };
        let old = jsonwebtoken::encode(&Header::new(Algorithm::HS256), &old, &tokens.encoding).unwrap();
        assert_eq!(tokens.check(&old).unwrap_err().code(), Code::TokenExpired);
    }
}
