//! The closed set of error codes and their form on the wire: `application/problem+json` (RFC 9457).
//!
//! A 4xx says what the caller can do. A 5xx contains no internal detail; the log line does.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

/// A stable code of an error, for clients to act on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Code {
    /// No bearer token.
    MissingCredentials,
    /// Wrong user name or password.
    InvalidCredentials,
    /// The token has a wrong signature or form.
    InvalidToken,
    /// The token was valid and has expired.
    TokenExpired,
    /// The booking is for another student than the caller.
    ForbiddenStudent,
    /// The search has no subject.
    MissingSubject,
    /// The subject is too long or contains control characters.
    InvalidSubject,
    /// The request is not valid JSON, not a valid form or not UTF-8.
    MalformedRequest,
    /// The request is well-formed, but a member is missing or has the wrong type.
    InvalidRequest,
    /// No such student.
    StudentNotFound,
    /// No such tutor.
    TutorNotFound,
    /// No such path, key, task or lease.
    NotFound,
    /// The path exists, but not with this method.
    MethodNotAllowed,
    /// The body is larger than the endpoint's limit.
    BodyTooLarge,
    /// The body did not arrive in time.
    RequestTimeout,
    /// The endpoint expects another media type.
    UnsupportedMediaType,
    /// The lesson would start in the past, off the grid, outside the tutor's hours or beyond the horizon.
    InvalidSlot,
    /// Tutor or student has another lesson at that time.
    SlotTaken,
    /// Tutor and student have no free slot in common within the horizon.
    NoFreeSlot,
    /// The booking was cancelled before.
    AlreadyCancelled,
    /// The idempotency key is empty, too long or has control characters.
    InvalidKey,
    /// The first request with this idempotency key is still running.
    KeyInFlight,
    /// The idempotency key was used for another request.
    KeyReused,
    /// The task queue is full; retry later.
    QueueFull,
    /// A dependency of the endpoint is down; retry later.
    Unavailable,
    /// The reply of a dependency is not valid HTTP.
    BadGateway,
    /// The request was not answered in time.
    Timeout,
    /// Unexpected failure of the server.
    Internal,
}

impl Code {
    /// Returns the HTTP status of the code.
    pub fn status(self) -> StatusCode {
        match self {
            Self::MissingCredentials | Self::InvalidCredentials | Self::InvalidToken | Self::TokenExpired => {
                StatusCode::UNAUTHORIZED
            }
            Self::ForbiddenStudent => StatusCode::FORBIDDEN,
            Self::MissingSubject | Self::InvalidSubject | Self::MalformedRequest | Self::InvalidKey => {
                StatusCode::BAD_REQUEST
            }
            Self::InvalidRequest | Self::InvalidSlot | Self::KeyReused => StatusCode::UNPROCESSABLE_ENTITY,
            Self::SlotTaken | Self::NoFreeSlot | Self::AlreadyCancelled | Self::KeyInFlight => {
                StatusCode::CONFLICT
            }
            Self::StudentNotFound | Self::TutorNotFound | Self::NotFound => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::BodyTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::RequestTimeout => StatusCode::REQUEST_TIMEOUT,
            Self::UnsupportedMediaType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::QueueFull | Self::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            Self::BadGateway => StatusCode::BAD_GATEWAY,
            Self::Timeout => StatusCode::GATEWAY_TIMEOUT,
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// Returns the `detail` of a problem without a more specific one.
    fn default_detail(self) -> &'static str {
        match self {
            Self::MissingCredentials => "Send the token of POST /token as `Authorization: Bearer TOKEN`.",
            Self::InvalidCredentials => "Incorrect user name or password.",
            Self::InvalidToken => "The token is not valid; log in again.",
            Self::TokenExpired => "The token has expired; log in again.",
            Self::ForbiddenStudent => "You can book only for your own student.",
            Self::MissingSubject => "Specify a subject, as in GET /search?subject=Math.",
            Self::InvalidSubject => "The subject must have 1 to 100 characters and no control characters.",
            Self::MalformedRequest => "The request is malformed.",
            Self::InvalidRequest => "A member is missing or has the wrong type.",
            Self::StudentNotFound => "Student not found.",
            Self::TutorNotFound => "Tutor not found.",
            Self::NotFound => "Not found.",
            Self::MethodNotAllowed => "This path does not support this method.",
            Self::BodyTooLarge => "The body is larger than the limit of this endpoint.",
            Self::RequestTimeout => "The body of the request did not arrive in time.",
            Self::UnsupportedMediaType => "This endpoint does not support the media type of the body.",
            Self::InvalidSlot => "The tutor offers no lesson at that time; see GET /tutors/{id}/slots.",
            Self::SlotTaken => "The slot is taken; choose one of `alternatives`.",
            Self::NoFreeSlot => "Tutor and student have no free slot in common in the next eight weeks.",
            Self::AlreadyCancelled => "The booking was cancelled before.",
            Self::InvalidKey => "The Idempotency-Key must have 1 to 255 visible ASCII characters.",
            Self::KeyInFlight => "The first request with this Idempotency-Key is still running; retry later.",
            Self::KeyReused => "This Idempotency-Key was used for another request.",
            Self::QueueFull | Self::Unavailable => "Temporarily unavailable; retry later.",
            Self::BadGateway => "The service that handles this request gave no valid reply; retry later.",
            Self::Timeout => "The request timed out; retry later.",
            Self::Internal => "Internal error.",
        }
    }
}

/// An error as the caller receives it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    code: Code,
    detail: Option<String>,
    alternatives: Option<Vec<DateTime<Utc>>>,
}

/// A reply or a problem.
pub type Result<T, E = Problem> = std::result::Result<T, E>;

impl Problem {
    /// Returns a problem with a specific `detail`. A 5xx omits it, so that no internal detail leaves the process.
    pub fn with_detail(code: Code, detail: impl Into<String>) -> Self {
        let detail = (!code.status().is_server_error()).then(|| detail.into());
        Self { code, detail, alternatives: None }
    }

    /// Returns a `slot_taken` problem with the starts of free lessons.
    pub fn slot_taken(alternatives: Vec<DateTime<Utc>>) -> Self {
        Self { code: Code::SlotTaken, detail: None, alternatives: Some(alternatives) }
    }

    /// Returns the problem in the body of another role's reply; `None` if it contains none. A 5xx loses its detail.
    pub(crate) fn from_body(body: &[u8]) -> Option<Self> {
        let Received { code, detail, alternatives } = serde_json::from_slice(body).ok()?;
        let detail = detail.filter(|_| !code.status().is_server_error());
        Some(Self { code, detail, alternatives })
    }

    /// Logs `error` with its causes and returns a problem that does not contain them.
    pub fn internal(error: impl std::error::Error) -> Self {
        let mut causes = error.to_string();
        let mut source = error.source();
        while let Some(cause) = source {
            causes.push_str(": ");
            causes.push_str(&cause.to_string());
            source = cause.source();
        }
        tracing::error!(error = causes, "request failed");
        Code::Internal.into()
    }

    /// Returns the code.
    pub fn code(&self) -> Code {
        self.code
    }
}

impl From<Code> for Problem {
    fn from(code: Code) -> Self {
        Self { code, detail: None, alternatives: None }
    }
}

/// The body of every error response.
#[derive(Debug, Serialize)]
struct Body<'a> {
    r#type: &'static str,
    title: &'static str,
    status: u16,
    code: Code,
    detail: &'a str,
    /// Extension of `slot_taken`.
    #[serde(skip_serializing_if = "Option::is_none")]
    alternatives: Option<&'a [DateTime<Utc>]>,
}

/// The members of a [`Body`] that another role needs.
#[derive(Debug, Deserialize)]
struct Received {
    code: Code,
    detail: Option<String>,
    alternatives: Option<Vec<DateTime<Utc>>>,
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = self.code.status();
        let body = Body {
            r#type: "about:blank",
            title: status.canonical_reason().unwrap_or_default(),
            status: status.as_u16(),
            code: self.code,
            detail: self.detail.as_deref().unwrap_or(self.code.default_detail()),
            alternatives: self.alternatives.as_deref(),
        };
        let mut response = (status, axum::Json(body)).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if status == StatusCode::REQUEST_TIMEOUT {
            // The rest of the body is not read (RFC 9110, section 15.5.9).
            headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        if status == StatusCode::SERVICE_UNAVAILABLE || self.code == Code::KeyInFlight {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_5xx_has_no_internal_detail() {
        let problem = Problem::with_detail(Code::Internal, "password of the database");
        assert_eq!(problem.detail, None);
    }

    #[test]
    fn a_401_names_the_authentication_scheme() {
        let response = Problem::from(Code::TokenExpired).into_response();
        assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
        assert_eq!(response.headers()[header::WWW_AUTHENTICATE], "Bearer");
        assert_eq!(response.headers()[header::CONTENT_TYPE], "application/problem+json");
    }

    #[test]
    fn a_problem_that_goes_away_by_itself_says_when_to_retry() {
        for code in [Code::Unavailable, Code::QueueFull, Code::KeyInFlight] {
            assert_eq!(Problem::from(code).into_response().headers()[header::RETRY_AFTER], "1", "{code:?}");
        }
        assert!(!Problem::from(Code::KeyReused).into_response().headers().contains_key(header::RETRY_AFTER));
    }

    #[tokio::test]
    async fn the_problem_of_another_role_keeps_its_meaning() {
        let alternatives = vec!["2026-12-01T09:00:00Z".parse().unwrap()];
        let detail = Problem::with_detail(Code::InvalidSlot, "The lesson would start in the past.");
        for sent in [Problem::slot_taken(alternatives), detail] {
            let body = axum::body::to_bytes(sent.clone().into_response().into_body(), 1000).await.unwrap();
            let received = Problem::from_body(&body).unwrap();
            assert_eq!((received.code, &received.alternatives), (sent.code, &sent.alternatives));
            let again = axum::body::to_bytes(received.into_response().into_body(), 1000).await.unwrap();
            assert_eq!(again, body);
        }
        assert_eq!(
            Problem::from_body(b"{\"code\":\"internal\",\"detail\":\"a path\"}"),
            Some(Code::Internal.into())
        );
        assert_eq!(Problem::from_body(b"<html>"), None);
    }
}
