//! Errors of the API, independent of its version: each version has its own JSON for them.

use axum::http::StatusCode;

use crate::query::streaming::{self, QueryError};

/// Maximum length of a message that may quote the request, in bytes.
const MAX_MESSAGE: usize = 400;

/// Status and message of an error response.
#[derive(Debug)]
pub(super) struct ApiError {
    pub(super) status: StatusCode,
    pub(super) message: String,
}

impl ApiError {
    pub(super) fn bad_request(message: impl Into<String>) -> Self {
        let mut message = message.into();
        message.truncate(message.floor_char_boundary(MAX_MESSAGE));
        Self { status: StatusCode::BAD_REQUEST, message }
    }

    pub(super) fn not_found(message: impl Into<String>) -> Self {
        Self { status: StatusCode::NOT_FOUND, message: message.into() }
    }
}

impl From<QueryError> for ApiError {
    fn from(error: QueryError) -> Self {
        let (status, message) = match error {
            QueryError::Failed => (StatusCode::INTERNAL_SERVER_ERROR, "internal error"),
            QueryError::Busy => (StatusCode::SERVICE_UNAVAILABLE, streaming::BUSY),
        };
        Self { status, message: message.to_owned() }
    }
}
