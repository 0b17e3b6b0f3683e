//! Version 3: what the UI's search page asks. Traces are OTLP JSON, and times are nanoseconds.

use std::sync::Arc;

use axum::Router;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, RawQuery, State};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde_json::json;

use super::adjust::{adjusted, without_repeats};
use super::parameters::Parameters;
use super::query::v3 as query;
use super::summary::Summary;
use super::{Refusal, json, kept, off_runtime, operations_of, otlp, path_text, trace_id};
use crate::heavy::Writing;
use crate::ingest::Ingest;
use crate::span::Trace;

pub(super) fn router() -> Router<Arc<Ingest>> {
    Router::new()
        .route("/api/v3/services", get(services))
        .route("/api/v3/operations", get(operations))
        .route("/api/v3/traces", get(traces))
        .route("/api/v3/traces/{id}", get(trace))
        .route("/api/v3/trace-summaries", get(summaries))
}

type Reply = Result<Response, Problem>;

/// `{"error":{"httpCode":404,"message":"No traces found"}}`
#[derive(Debug)]
struct Problem(Refusal);

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        Self(refusal)
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let Self(Refusal { status, message }) = self;
        let error = json!({ "httpCode": status.as_u16(), "message": message });
        (status, axum::Json(json!({ "error": error }))).into_response()
    }
}

async fn services(State(ingest): State<Arc<Ingest>>) -> Reply {
    Ok(off_runtime(move || json(&json!({ "services": ingest.services() }))).await?)
}

/// A span that did not say its kind counts as internal here, though a search for internal ones does not find it.
async fn operations(State(ingest): State<Arc<Ingest>>, RawQuery(asked): RawQuery) -> Reply {
    let (service, kind) = query::operations(&Parameters::parse(asked.as_deref())?);
    let operation = |(name, kind): (String, &str)| json!({ "name": name, "spanKind": if kind.is_empty() { "internal" } else { kind } });
    let work = move || {
        let operations = operations_of(&ingest, &service, kind.as_deref());
        let operations: Vec<_> = operations.into_iter().map(operation).collect();
        json(&json!({ "operations": operations }))
    };
    Ok(off_runtime(work).await?)
}

async fn traces(State(ingest): State<Arc<Ingest>>, RawQuery(asked): RawQuery) -> Reply {
    let search = query::search(&Parameters::parse(asked.as_deref())?)?;
    let work = move || result(ingest.store.search(&search.query), search.raw);
    Ok(off_runtime(work).await?)
}

async fn trace(
    State(ingest): State<Arc<Ingest>>,
    id: Result<Path<String>, PathRejection>,
    RawQuery(asked): RawQuery,
) -> Reply {
    let id = trace_id(&path_text(id)?).map_err(|refusal| query::malformed("trace_id", &refusal.message))?;
    let raw = query::trace(&Parameters::parse(asked.as_deref())?)?;
    let work = move || result(kept(&ingest, id).into_iter(), raw);
    Ok(off_runtime(work).await?)
}

/// Unlike traces, no summaries are no error.
async fn summaries(State(ingest): State<Arc<Ingest>>, RawQuery(asked): RawQuery) -> Reply {
    let search = query::search(&Parameters::parse(asked.as_deref())?)?;
    let work = move || {
        let traces = ingest.store.search(&search.query);
        let counted = traces.map(|trace| if search.raw { trace } else { without_repeats(trace) });
        let summaries: Vec<_> = counted.map(|trace| Summary::from(&trace)).collect();
        json(&json!({ "summaries": summaries }))
    };
    Ok(off_runtime(work).await?)
}

fn result(traces: impl Iterator<Item = Trace>, raw: bool) -> Result<Response, Refusal> {
    let mut traces = traces.peekable();
    if traces.peek().is_none() {
        return Err(Refusal::not_found("No traces found"));
    }
    let shown = traces.map(|trace| if raw { trace } else { adjusted(trace) });
    let mut body = Writing::default();
    otlp::result(shown, &mut body).map_err(|error| Refusal::unwritten(&error))?;
    Ok(body.into_response("application/json"))
}

#[cfg(test)]
mod tests;
