//! The closed set of error codes, and how each looks on the wire: RFC 9457's `application/problem+json`.
//!
//! A 4xx says what the caller can do; a 5xx tells nothing of the inside (the log line does).

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};

/// What went wrong, as a stable name that clients may act upon.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Code {
    /// No bearer token.
    MissingCredentials,
    /// Wrong user name or password.
    InvalidCredentials,
    /// The token does not verify.
    InvalidToken,
    /// The token was good once.
    TokenExpired,
    /// Booking for somebody else.
    ForbiddenStudent,
    /// A search without a subject.
    MissingSubject,
    /// A subject that no tutor can have.
    InvalidSubject,
    /// Not JSON, not a form, not UTF-8.
    MalformedRequest,
    /// Well-formed, but a member is missing or of the wrong type.
    InvalidRequest,
    /// No such student.
    StudentNotFound,
    /// No such tutor.
    TutorNotFound,
    /// No such page, key, task or lease.
    NotFound,
    /// The path exists, the method does not.
    MethodNotAllowed,
    /// More bytes than the endpoint takes.
    BodyTooLarge,
    /// A body of another media type than the endpoint's.
    UnsupportedMediaType,
    /// The task queue is full: try again later.
    QueueFull,
    /// A part that the answer needs is down: try again later.
    Unavailable,
    /// The answer took too long.
    Timeout,
    /// A fault of ours.
    Internal,
}

impl Code {
    /// The HTTP status that goes with the code.
    pub fn status(self) -> StatusCode {
        match self {
            Self::MissingCredentials | Self::InvalidCredentials | Self::InvalidToken | Self::TokenExpired => {
                StatusCode::UNAUTHORIZED
            }
            Self::ForbiddenStudent => StatusCode::FORBIDDEN,
            Self::MissingSubject | Self::InvalidSubject | Self::MalformedRequest => StatusCode::BAD_REQUEST,
            Self::InvalidRequest => StatusCode::UNPROCESSABLE_ENTITY,
            Self::StudentNotFound | Self::TutorNotFound | Self::NotFound => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::BodyTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::UnsupportedMediaType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::QueueFull | Self::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            Self::Timeout => StatusCode::GATEWAY_TIMEOUT,
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// What a caller reads when the code alone says it all.
    fn default_detail(self) -> &'static str {
        match self {
            Self::MissingCredentials => "Send the token of POST /token as `Authorization: Bearer TOKEN`.",
            Self::InvalidCredentials => "The user name or the password is wrong.",
            Self::InvalidToken => "The token is not valid; log in again.",
            Self::TokenExpired => "The token has expired; log in again.",
            Self::ForbiddenStudent => "A booking can be made for your own student only.",
            Self::MissingSubject => "Say which subject: GET /search?subject=Math",
            Self::InvalidSubject => "A subject has 1 to 100 characters, none of them a control character.",
            Self::MalformedRequest => "The request could not be read.",
            Self::InvalidRequest => "A member is missing or of the wrong type.",
            Self::StudentNotFound => "There is no such student.",
            Self::TutorNotFound => "There is no such tutor.",
            Self::NotFound => "There is nothing here.",
            Self::MethodNotAllowed => "This path does not take this method.",
            Self::BodyTooLarge => "The body is larger than this endpoint takes.",
            Self::UnsupportedMediaType => "The body's media type is not the one this endpoint takes.",
            Self::QueueFull | Self::Unavailable => "Not possible at the moment; try again later.",
            Self::Timeout => "The answer took too long; try again later.",
            Self::Internal => "Something went wrong on our side.",
        }
    }
}

/// An error on its way to the caller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    code: Code,
    detail: Option<String>,
}

/// Either the reply or the problem.
pub type Result<T, E = Problem> = std::result::Result<T, E>;

impl Problem {
    /// A problem whose `detail` tells more than the code. For 4xx only: a 5xx tells nothing of the inside.
    pub fn with_detail(code: Code, detail: impl Into<String>) -> Self {
        let detail = (!code.status().is_server_error()).then(|| detail.into());
        Self { code, detail }
    }

    /// Logs the cause, once and here at the boundary, and hides it from the caller.
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

    /// The stable code.
    pub fn code(&self) -> Code {
        self.code
    }
}

impl From<Code> for Problem {
    fn from(code: Code) -> Self {
        Self { code, detail: None }
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
        };
        let mut response = (status, axum::Json(body)).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if status == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_5xx_never_carries_a_detail_from_the_inside() {
        let problem = Problem::with_detail(Code::Internal, "password of the database");
        assert_eq!(problem.detail, None);
    }

    #[test]
    fn a_401_tells_how_to_authenticate() {
        let response = Problem::from(Code::TokenExpired).into_response();
        assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
        assert_eq!(response.headers()[header::WWW_AUTHENTICATE], "Bearer");
        assert_eq!(response.headers()[header::CONTENT_TYPE], "application/problem+json");
    }
}
