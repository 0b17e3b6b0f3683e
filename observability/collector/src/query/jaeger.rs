//! Jaeger's query API over the store: what its UI, its clients and scripts ask.
//!
//! Envelopes, units, defaults and error texts are those of Jaeger 2.20, in its versions 1 and 3. What cannot be read is
//! answered 400, what is not there 404, and a failure of ours 500 without a word about the inside.

mod adjust;
mod model;
mod otlp;
mod parameters;
mod query;
pub(crate) mod rfc3339;
mod summary;
mod ui_trace;
mod v1;
mod v3;

use std::sync::Arc;

use axum::Router;
use axum::extract::Path;
use axum::extract::rejection::PathRejection;
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::any;
use tokio::sync::Semaphore;

use crate::go;
use crate::ingest::Ingest;
use crate::query::answer::{self, Unanswered, Writing};
use crate::store::Found;
use crate::trace::{Kind, Trace, TraceId};

pub use ui_trace::UiTrace;

/// Queries that work at once.
static ROOM: Semaphore = Semaphore::const_new(4);

/// And so many of the quick ones.
static QUICK: Semaphore = Semaphore::const_new(4);

/// Bytes of the message of a refusal.
const MAX_MESSAGE: usize = 400;

pub(crate) fn router(ingest: Arc<Ingest>) -> Router {
    Router::new()
        .merge(v1::router())
        .merge(v3::router())
        // Whatever else a server shows under other paths, the API has no pages.
        .route("/api", any(unknown))
        .route("/api/", any(unknown))
        .route("/api/{*rest}", any(unknown))
        .with_state(ingest)
}

async fn unknown() -> (StatusCode, &'static str) {
    (StatusCode::NOT_FOUND, "404 page not found\n")
}

/// Why a request gets no answer. Each version of the API has its own shape for it.
#[derive(Debug)]
struct Refusal {
    status: StatusCode,
    message: String,
}

impl Refusal {
    /// A message may repeat what the caller sent, but not all that it sent.
    fn bad_request(message: impl Into<String>) -> Self {
        let mut message = message.into();
        message.truncate(message.floor_char_boundary(MAX_MESSAGE));
        Self { status: StatusCode::BAD_REQUEST, message }
    }

    fn not_found(message: impl Into<String>) -> Self {
        Self { status: StatusCode::NOT_FOUND, message: message.into() }
    }
}

impl From<Unanswered> for Refusal {
    fn from(unanswered: Unanswered) -> Self {
        let (status, message) = match unanswered {
            Unanswered::BrokeOff => (StatusCode::INTERNAL_SERVER_ERROR, "internal error"),
            Unanswered::Busy => (StatusCode::SERVICE_UNAVAILABLE, answer::BUSY),
        };
        Self { status, message: message.to_owned() }
    }
}

/// Answers with the JSON that `work` writes.
async fn written(
    work: impl FnOnce(&mut Writing) -> Result<(), Refusal> + Send + 'static,
) -> Result<Response, Refusal> {
    written_in(&ROOM, work).await
}

/// The same for what takes little time: nobody who asks for names, or for one trace, waits for searches.
async fn soon(
    work: impl FnOnce(&mut Writing) -> Result<(), Refusal> + Send + 'static,
) -> Result<Response, Refusal> {
    written_in(&QUICK, work).await
}

/// When there is `room` for it.
async fn written_in(
    room: &'static Semaphore,
    work: impl FnOnce(&mut Writing) -> Result<(), Refusal> + Send + 'static,
) -> Result<Response, Refusal> {
    answer::written(room, Some(&answer::LONG_ROOM), "application/json", work).await
}

fn path_text(path: Result<Path<String>, PathRejection>) -> Result<String, Refusal> {
    let Path(text) = path.map_err(|_| Refusal::bad_request("the path is not UTF-8"))?;
    Ok(text)
}

fn trace_id(text: &str) -> Result<TraceId, Refusal> {
    text.parse().map_err(|error| Refusal::bad_request(format!("{:?}: {error}", go::clipped(text))))
}

fn kept(ingest: &Ingest, id: TraceId) -> Option<Trace> {
    match ingest.store.get(id) {
        Found::Kept(trace) => Some(trace),
        Found::Evicted(_) | Found::Nothing => None,
    }
}

/// Names and kinds, of one kind only if that is given. A span that did not say its kind has the empty one.
fn operations_of(ingest: &Ingest, service: &str, kind: Option<&str>) -> Vec<(String, &'static str)> {
    let text = |kind: Kind| if kind == Kind::Unspecified { "" } else { kind.as_str() };
    let operations = ingest.operations(service).into_iter();
    operations
        .map(|(name, of_kind)| (name, text(of_kind)))
        .filter(|(_, of_kind)| kind.is_none_or(|kind| kind == *of_kind))
        .collect()
}

#[cfg(test)]
mod tests;
