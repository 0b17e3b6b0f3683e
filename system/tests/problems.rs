//! Every error code as it appears on the wire, as one snapshot.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use axum::response::IntoResponse as _;
use http_body_util::BodyExt as _;
use system::error::{Code, Problem};

/// Defines `CODES` with every code; does not compile if one is missing.
macro_rules! codes {
    ($($code:ident)*) => {
        const CODES: &[Code] = &[$(Code::$code),*];

        const _: fn(Code) = |code| match code {
            $(Code::$code => {})*
        };
    };
}

codes! {
    MissingCredentials InvalidCredentials InvalidToken TokenExpired ForbiddenStudent MissingSubject InvalidSubject
    MalformedRequest InvalidRequest StudentNotFound TutorNotFound NotFound MethodNotAllowed BodyTooLarge
    RequestTimeout UnsupportedMediaType InvalidSlot SlotTaken NoFreeSlot AlreadyCancelled InvalidKey KeyInFlight KeyReused
    QueueFull Unavailable BadGateway Timeout Internal
}

/// Status, headers and body of a problem.
async fn wire(code: Code) -> String {
    let (head, body) = Problem::from(code).into_response().into_parts();
    let headers = head.headers.iter().filter(|(name, _)| *name != "content-length");
    let headers: String =
        headers.map(|(name, value)| format!("{name}: {}\n", value.to_str().unwrap())).collect();
    let body: serde_json::Value = serde_json::from_slice(&body.collect().await.unwrap().to_bytes()).unwrap();
    format!("{}\n{headers}{}\n", head.status, serde_json::to_string_pretty(&body).unwrap())
}

#[tokio::test]
async fn problems_match_the_snapshot() {
    let mut problems = Vec::new();
    for code in CODES {
        problems.push(wire(*code).await);
    }
    insta::assert_snapshot!("problems", problems.join("\n"));
}
