//! Version 1's envelope, around data and errors alike.

use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::Serializer;
use serde_json::ser::PrettyFormatter;

use crate::query::answer::{Unanswered, Writing};
use crate::query::jaeger::{Refusal, model};
use crate::trace::TraceId;

pub(super) const NO_TRACE: &str = "trace not found";

/// `{"data":[…],"total":0,"limit":0,"offset":0,"errors":null}`. Some endpoints set `total`; none sets `limit` and `offset`.
#[derive(Debug, Serialize)]
pub(super) struct Envelope<D> {
    data: Option<D>,
    total: usize,
    limit: usize,
    offset: usize,
    errors: Option<Vec<ApiError>>,
}

#[derive(Debug, Serialize)]
struct ApiError {
    /// The status, where the error is that of the whole reply.
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<u16>,
    msg: String,
    /// The trace, where the error is about one.
    #[serde(rename = "traceID", skip_serializing_if = "Option::is_none")]
    trace_id: Option<String>,
}

/// A refusal in the envelope, as the answer to a request.
#[derive(Debug)]
pub(super) struct Problem(Refusal);

impl<T: Serialize> Envelope<Vec<T>> {
    pub(super) fn counted(data: Vec<T>) -> Self {
        Self { total: data.len(), ..Self::of(data) }
    }
}

impl<D: Serialize> Envelope<D> {
    pub(super) fn of(data: D) -> Self {
        Self { data: Some(data), ..Self::empty() }
    }

    pub(super) fn empty() -> Self {
        Self { data: None, total: 0, limit: 0, offset: 0, errors: None }
    }

    /// Names traces that were asked for and are not there.
    pub(super) fn missing(self, ids: impl Iterator<Item = TraceId>) -> Self {
        let error =
            |id| ApiError { code: None, msg: NO_TRACE.to_owned(), trace_id: Some(model::ui_trace_id(id)) };
        let errors: Vec<_> = ids.map(error).collect();
        Self { errors: (!errors.is_empty()).then_some(errors), ..self }
    }

    pub(super) fn write(&self, pretty: bool, body: &mut Writing) -> Result<(), Refusal> {
        let written = if pretty {
            let formatter = PrettyFormatter::with_indent(b"    ");
            self.serialize(&mut Serializer::with_formatter(body, formatter))
        } else {
            self.serialize(&mut Serializer::new(body))
        };
        Ok(written.map_err(Unanswered::from)?)
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        Self(refusal)
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let Self(Refusal { status, message }) = self;
        let errors = Some(vec![ApiError { code: Some(status.as_u16()), msg: message, trace_id: None }]);
        (status, axum::Json(Envelope::<Vec<()>> { errors, ..Envelope::empty() })).into_response()
    }
}
