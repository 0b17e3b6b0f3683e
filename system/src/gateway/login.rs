//! `POST /token`: checks user name and password and returns a bearer token.
//!
//! The form is that of OAuth 2.0's password grant, with the rules of FastAPI's `OAuth2PasswordRequestForm`, which the original
//! system used: `grant_type` may be left out, and `scope`, `client_id` and `client_secret` are ignored.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use tokio::task::spawn_blocking;
use tracing::Instrument as _;

use super::Gateway;
use super::token::{Caller, LIFETIME};
use crate::api::{Token, User, UserQuery};
use crate::error::{Code, Problem, Result};
use crate::extract::Form;
use crate::password;

/// Maximum length of a user name and of a password, in bytes. No user has longer ones, so they are not hashed.
const MAX_CREDENTIAL_BYTES: usize = 256;

pub(super) async fn log_in(State(gateway): State<Arc<Gateway>>, form: Form) -> Result<Json<Token>> {
    let (Some(username), Some(password)) = (form.get("username"), form.get("password")) else {
        return Err(Problem::with_detail(
            Code::InvalidRequest,
            "The form must contain `username` and `password`.",
        ));
    };
    if form.get("grant_type").is_some_and(|grant| grant != "password") {
        return Err(Problem::with_detail(Code::InvalidRequest, "`grant_type` must be `password`."));
    }
    let usable = |text: &str| text.len() <= MAX_CREDENTIAL_BYTES && !text.contains('\0');
    if !usable(username) || !usable(password) {
        return Err(Code::InvalidCredentials.into());
    }
    let user = find_user(&gateway, username).await?;
    let hash = user.as_ref().map_or(password::UNKNOWN_USER, |user| &user.password_hash);
    let matches = check_password(&gateway, password.to_owned(), hash.to_owned()).await?;
    let Some(user) = user.filter(|_| matches) else {
        return Err(Code::InvalidCredentials.into());
    };
    let caller = Caller { username: username.to_owned(), student_id: user.student_id };
    Ok(Json(Token {
        access_token: gateway.tokens.issue(caller)?,
        token_type: "bearer".into(),
        expires_in: LIFETIME.as_secs(),
    }))
}

async fn find_user(gateway: &Gateway, username: &str) -> Result<Option<User>> {
    let reply =
        gateway.booking.look_up_with("/users/find", &UserQuery { username: username.to_owned() }).await?;
    if reply.status == StatusCode::NOT_FOUND { Ok(None) } else { reply.json().map(Some) }
}

/// Verifies `password` on a blocking thread, because hashing uses a core for about 10 ms. At most [`super::PASSWORD_CHECKS`]
/// checks run at once.
async fn check_password(gateway: &Gateway, password: String, hash: String) -> Result<bool> {
    let wait = telemetry::wait_span!("wait permit");
    let permit = Arc::clone(&gateway.password_checks).acquire_owned().await.map_err(Problem::internal)?;
    drop(wait);
    let verified = spawn_blocking(move || {
        let _permit = permit;
        password::verify(&password, &hash)
    });
    verified.instrument(tracing::info_span!("verify password")).await.map_err(Problem::internal)
}
