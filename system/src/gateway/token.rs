//! Bearer tokens: JWTs signed with HS256 and a key that all gateways share.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::extract::FromRequestParts;
use axum::http::header;
use axum::http::request::Parts;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};

use super::Gateway;
use crate::error::{Code, Problem, Result};

/// Lifetime of a token.
pub(super) const LIFETIME: Duration = Duration::from_secs(3600);

pub(super) struct TokenKeys {
    encoding: EncodingKey,
    decoding: DecodingKey,
    validation: Validation,
}

/// The sender of a request, from the claims of its token.
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

impl TokenKeys {
    pub(super) fn new(secret: &str) -> Self {
        // Only HS256: the algorithm that a token names itself, such as `none`, is not trusted.
        let mut validation = Validation::new(Algorithm::HS256);
        validation.leeway = 0;
        validation.validate_nbf = true;
        // Rejects a token at the second of its `exp`: the current time must be before it (RFC 7519, section 4.1.4).
        validation.reject_tokens_expiring_in_less_than = 1;
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

    fn verify(&self, token: &str) -> Result<Caller> {
        // `decode` checks the times as well.
        match jsonwebtoken::decode::<Caller>(token, &self.decoding, &self.validation) {
            Ok(_) if has_critical_extensions(token) => Err(Code::InvalidToken.into()),
            Ok(data) => Ok(data.claims),
            Err(error) if *error.kind() == ErrorKind::ExpiredSignature => Err(Code::TokenExpired.into()),
            Err(_) => Err(Code::InvalidToken.into()),
        }
    }
}

/// Returns whether the header of a token has the member `crit`, or cannot be read. No extension is implemented, so a list of
/// critical ones is refused, and any other value as malformed (RFC 7515, section 4.1.11). [`Header`] does not distinguish
/// `null` from no member.
fn has_critical_extensions(token: &str) -> bool {
    let header = token.split('.').next().unwrap_or_default();
    let header = URL_SAFE_NO_PAD.decode(header).ok();
    let members = header.and_then(|json| serde_json::from_slice::<HashMap<String, IgnoredAny>>(&json).ok());
    members.is_none_or(|members| members.contains_key("crit"))
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
        gateway.tokens.verify(token.trim())
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
    fn an_issued_token_contains_its_caller() {
        let tokens = TokenKeys::new(KEY);
        let token = tokens.issue(caller()).unwrap();
        assert_eq!(tokens.verify(&token).unwrap().student_id, 1);
    }

    #[test]
    fn rejects_tokens_of_another_key_and_expired_tokens() {
        let tokens = TokenKeys::new(KEY);
        let foreign = TokenKeys::new("ffffffffffffffffffffffffffffffff").issue(caller()).unwrap();
        assert_eq!(tokens.verify(&foreign).unwrap_err().code(), Code::InvalidToken);
        let old = Claims { caller: caller(), iat: 1, exp: 2 };
        let old = jsonwebtoken::encode(&Header::new(Algorithm::HS256), &old, &tokens.encoding).unwrap();
        assert_eq!(tokens.verify(&old).unwrap_err().code(), Code::TokenExpired);
    }

    /// Returns the verdict on a token with `header` and `claims`, signed with the right key.
    fn verdict(header: &Header, claims: &serde_json::Value) -> Option<Code> {
        let tokens = TokenKeys::new(KEY);
        let token = jsonwebtoken::encode(header, claims, &tokens.encoding).unwrap();
        tokens.verify(&token).err().map(|problem| problem.code())
    }

    #[test]
    fn the_times_of_a_token_are_checked_without_leeway() {
        let header = Header::new(Algorithm::HS256);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        let claims = |exp: serde_json::Value, nbf: serde_json::Value| serde_json::json!({ "sub": "student1", "student_id": 1, "exp": exp, "nbf": nbf });
        for (exp, nbf, wanted) in [
            ((now + 60).into(), now.into(), None),
            ((now + 60).into(), 0.into(), None),
            // RFC 7519: the current time must be before `exp`.
            (now.into(), now.into(), Some(Code::TokenExpired)),
            ((now - 1).into(), now.into(), Some(Code::TokenExpired)),
            (1.into(), 0.into(), Some(Code::TokenExpired)),
            ((now + 60).into(), (now + 30).into(), Some(Code::InvalidToken)),
            ((now + 60).into(), "tomorrow".into(), Some(Code::InvalidToken)),
            ("tomorrow".into(), now.into(), Some(Code::InvalidToken)),
        ] {
            assert_eq!(verdict(&header, &claims(exp, nbf)), wanted);
        }
        for claim in ["sub", "student_id", "exp"] {
            let mut claims = claims((now + 60).into(), now.into());
            claims.as_object_mut().unwrap().remove(claim);
            assert_eq!(verdict(&header, &claims), Some(Code::InvalidToken), "{claim}");
        }
    }

    #[test]
    fn a_token_with_another_algorithm_or_a_critical_extension_is_rejected() {
        let claims = serde_json::json!({ "sub": "student1", "student_id": 1, "exp": u32::MAX });
        assert_eq!(verdict(&Header::new(Algorithm::HS256), &claims), None);
        assert_eq!(verdict(&Header::new(Algorithm::HS384), &claims), Some(Code::InvalidToken));
        assert_eq!(verdict(&Header::new(Algorithm::HS512), &claims), Some(Code::InvalidToken));
        // No extension is implemented, so every list is refused, an empty one as malformed (RFC 7515, section 4.1.11).
        for critical in [vec!["exp".to_owned()], vec!["b64".to_owned()], vec![]] {
            let header = Header { crit: Some(critical.clone()), ..Header::new(Algorithm::HS256) };
            assert_eq!(verdict(&header, &claims), Some(Code::InvalidToken), "{critical:?}");
        }
    }

    #[test]
    fn a_header_with_any_member_crit_is_rejected() {
        let tokens = TokenKeys::new(KEY);
        let claims = r#"{"sub":"student1","student_id":1,"exp":4294967295}"#;
        let verdict = |header: &str| {
            let signed = [header, claims].map(|part| URL_SAFE_NO_PAD.encode(part)).join(".");
            let signature =
                jsonwebtoken::crypto::sign(signed.as_bytes(), &tokens.encoding, Algorithm::HS256).unwrap();
            tokens.verify(&format!("{signed}.{signature}")).err().map(|problem| problem.code())
        };
        assert_eq!(verdict(r#"{"alg":"HS256"}"#), None);
        for crit in ["null", "[]", r#"["exp"]"#, "[null]", "{}", "0", "false", r#""exp""#] {
            let header = format!(r#"{{"alg":"HS256","crit":{crit}}}"#);
            assert_eq!(verdict(&header), Some(Code::InvalidToken), "{crit}");
        }
        assert_eq!(verdict(r#"{"alg":"HS256","\u0063rit":null}"#), Some(Code::InvalidToken));
    }
}
