//! `GET /api/workbench/search`: the search page as JSON, with the same fields.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::json;

use super::form::Form;
use super::overview::Overview;
use crate::format;
use crate::ingest::Ingest;
use crate::store::Lookup;
use crate::trace::{Trace, TraceId};

/// One page of traces.
#[derive(Debug, Serialize)]
struct SearchReply {
    /// Number of matches.
    total: u64,
    /// Whether all matches were counted; if not, `total` is a minimum.
    counted: bool,
    /// Number of matches on the pages before.
    before: u64,
    traces: Vec<FoundTrace>,
    /// Value of `after` for the next page; `null` on the last one.
    next: Option<String>,
}

#[derive(Debug, Serialize)]
struct FoundTrace {
    trace_id: TraceId,
    /// Service and operation of the root span.
    service: String,
    operation: String,
    /// RFC 3339, to the microsecond.
    start: String,
    duration_us: f64,
    spans: usize,
    errors: usize,
}

/// Returns the traces found, or 400 and the error of the first invalid field.
pub(super) fn reply(ingest: &Ingest, form: &Form, now_ns: u64) -> Response {
    let search = match form.search(now_ns) {
        Ok(search) => search,
        Err(errors) => {
            let errors = errors.iter().map(|(field, error)| format!("{}: {error}", field.as_str()));
            return bad_request(&errors.collect::<Vec<_>>().join("; "));
        }
    };
    let page = ingest.store.result_page(&search.query, search.order, search.after);
    let found = |id: &TraceId| match ingest.store.get(*id) {
        Lookup::Stored(mut trace) => {
            trace.clear_impossible_times();
            FoundTrace::of(*id, &trace)
        }
        Lookup::Evicted(_) | Lookup::Unknown => None,
    };
    Json(SearchReply {
        total: page.total,
        counted: page.is_counted,
        before: page.before,
        traces: page.traces.iter().filter_map(found).collect(),
        next: page.next.map(|next| next.to_string()),
    })
    .into_response()
}

pub(super) fn bad_request(error: &str) -> Response {
    (StatusCode::BAD_REQUEST, Json(json!({ "error": error }))).into_response()
}

impl FoundTrace {
    fn of(trace_id: TraceId, trace: &Trace) -> Option<Self> {
        let overview = Overview::of(trace)?;
        Some(Self {
            trace_id,
            service: overview.root.service().to_owned(),
            operation: overview.root.operation().to_owned(),
            start: format::instant(overview.start_ns),
            duration_us: overview.duration_ns() as f64 / 1e3,
            spans: overview.spans,
            errors: overview.errors,
        })
    }
}
