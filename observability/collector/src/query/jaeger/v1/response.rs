//! The JSON around data and errors; Jaeger calls it a structured response.

use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::Serializer;
use serde_json::ser::PrettyFormatter;

use crate::query::jaeger::error::ApiError;
use crate::query::jaeger::model;
use crate::query::streaming::{QueryError, ResponseWriter};
use crate::trace::TraceId;

pub(in crate::query::jaeger) const TRACE_NOT_FOUND: &str = "trace not found";

/// `{"data":[…],"total":0,"limit":0,"offset":0,"errors":null}`. Some endpoints set `total`; none sets `limit` or `offset`.
#[derive(Debug, Serialize)]
pub(super) struct StructuredResponse<D> {
    data: Option<D>,
    total: usize,
    limit: usize,
    offset: usize,
    errors: Option<Vec<ErrorEntry>>,
}

#[derive(Debug, Serialize)]
struct ErrorEntry {
    /// HTTP status, if the whole request failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<u16>,
    msg: String,
    /// The trace that the error is about.
    #[serde(rename = "traceID", skip_serializing_if = "Option::is_none")]
    trace_id: Option<String>,
}

/// An [`ApiError`] as a structured response.
#[derive(Debug)]
pub(in crate::query::jaeger) struct ErrorResponse(ApiError);

impl<T: Serialize> StructuredResponse<Vec<T>> {
    /// Returns a response whose `total` is the number of elements.
    pub(super) fn counted(data: Vec<T>) -> Self {
        Self { total: data.len(), ..Self::new(data) }
    }
}

impl<D: Serialize> StructuredResponse<D> {
    pub(super) fn new(data: D) -> Self {
        Self { data: Some(data), ..Self::empty() }
    }

    pub(super) fn empty() -> Self {
        Self { data: None, total: 0, limit: 0, offset: 0, errors: None }
    }

    /// Adds an error for each requested trace that is not in the store.
    pub(super) fn with_missing(self, ids: impl Iterator<Item = TraceId>) -> Self {
        let error = |id| ErrorEntry {
            code: None,
            msg: TRACE_NOT_FOUND.to_owned(),
            trace_id: Some(model::ui_trace_id(id)),
        };
        let errors: Vec<_> = ids.map(error).collect();
        Self { errors: (!errors.is_empty()).then_some(errors), ..self }
    }

    pub(super) fn write(&self, pretty: bool, body: &mut ResponseWriter) -> Result<(), ApiError> {
        let written = if pretty {
            let formatter = PrettyFormatter::with_indent(b"    ");
            self.serialize(&mut Serializer::with_formatter(body, formatter))
        } else {
            self.serialize(&mut Serializer::new(body))
        };
        Ok(written.map_err(QueryError::from)?)
    }
}

impl From<ApiError> for ErrorResponse {
    fn from(error: ApiError) -> Self {
        Self(error)
    }
}

impl IntoResponse for ErrorResponse {
    fn into_response(self) -> Response {
        let Self(ApiError { status, message }) = self;
        let errors = Some(vec![ErrorEntry { code: Some(status.as_u16()), msg: message, trace_id: None }]);
        (status, axum::Json(StructuredResponse::<Vec<()>> { errors, ..StructuredResponse::empty() }))
            .into_response()
    }
}
