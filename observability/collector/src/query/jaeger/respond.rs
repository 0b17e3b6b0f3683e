//! Functions for the handlers of all versions: lookups in the store, and JSON responses computed outside the runtime.

use axum::response::Response;
use tokio::sync::Semaphore;

use super::error::ApiError;
use crate::ingest::Ingest;
use crate::query::streaming::{self, ResponseWriter};
use crate::store::Lookup;
use crate::trace::{Kind, Trace, TraceId};

/// Searches in progress.
pub(super) static SEARCH_PERMITS: Semaphore = Semaphore::const_new(4);

/// Lookups in progress.
pub(super) static LOOKUP_PERMITS: Semaphore = Semaphore::const_new(4);

/// Responds with the JSON that a search writes.
pub(super) async fn search(
    work: impl FnOnce(&mut ResponseWriter) -> Result<(), ApiError> + Send + 'static,
) -> Result<Response, ApiError> {
    json_response(&SEARCH_PERMITS, work).await
}

/// Responds with the JSON that a lookup of names or of a single trace writes. Lookups have permits of their own, so that
/// they do not wait for searches.
pub(super) async fn lookup(
    work: impl FnOnce(&mut ResponseWriter) -> Result<(), ApiError> + Send + 'static,
) -> Result<Response, ApiError> {
    json_response(&LOOKUP_PERMITS, work).await
}

/// Responds with the JSON that `work` writes once it has one of `permits`.
pub(super) async fn json_response(
    permits: &'static Semaphore,
    work: impl FnOnce(&mut ResponseWriter) -> Result<(), ApiError> + Send + 'static,
) -> Result<Response, ApiError> {
    streaming::stream(permits, Some(&streaming::STREAM_PERMIT), "application/json", work).await
}

pub(super) fn stored_trace(ingest: &Ingest, id: TraceId) -> Option<Trace> {
    match ingest.store.get(id) {
        Lookup::Stored(trace) => Some(trace),
        Lookup::Evicted(_) | Lookup::Unknown => None,
    }
}

/// Returns names and kinds of a service's operations, optionally of one kind only. An unspecified kind is the empty text.
pub(super) fn operations(ingest: &Ingest, service: &str, kind: Option<&str>) -> Vec<(String, &'static str)> {
    let text = |kind: Kind| if kind == Kind::Unspecified { "" } else { kind.as_str() };
    let operations = ingest.operations(service).into_iter();
    operations
        .map(|(name, of_kind)| (name, text(of_kind)))
        .filter(|(_, of_kind)| kind.is_none_or(|kind| kind == *of_kind))
        .collect()
}
