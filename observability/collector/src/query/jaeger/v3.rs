//! Version 3: what the UI's search page asks. Traces are OTLP JSON, and times are nanoseconds.

use std::collections::BTreeMap;
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
use super::{Refusal, kept, operations_of, otlp, path_text, soon, trace_id, written};
use crate::ingest::Ingest;
use crate::query::answer::{Lazily, Writing};
use crate::trace::Trace;

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
    Ok(soon(move |body| Ok(body.json(&BTreeMap::from([("services", ingest.services())]))?)).await?)
}

/// A span that did not say its kind counts as internal here, though a search for internal ones does not find it.
async fn operations(State(ingest): State<Arc<Ingest>>, RawQuery(asked): RawQuery) -> Reply {
    let (service, kind) = query::operations(&Parameters::parse(asked.as_deref())?);
    let operation = |(name, kind): (String, &str)| json!({ "name": name, "spanKind": if kind.is_empty() { "internal" } else { kind } });
    let work = move |body: &mut Writing| {
        let operations = operations_of(&ingest, &service, kind.as_deref());
        let operations = Lazily::of(operations.into_iter().map(operation));
        Ok(body.json(&BTreeMap::from([("operations", operations)]))?)
    };
    Ok(soon(work).await?)
}

async fn traces(State(ingest): State<Arc<Ingest>>, RawQuery(asked): RawQuery) -> Reply {
    let search = query::search(&Parameters::parse(asked.as_deref())?)?;
    let work = move |body: &mut Writing| write(ingest.store.search(&search.query), search.raw, body);
    Ok(written(work).await?)
}

async fn trace(
    State(ingest): State<Arc<Ingest>>,
    id: Result<Path<String>, PathRejection>,
    RawQuery(asked): RawQuery,
) -> Reply {
    let id = trace_id(&path_text(id)?).map_err(|refusal| query::malformed("trace_id", &refusal.message))?;
    let raw = query::trace(&Parameters::parse(asked.as_deref())?)?;
    let work = move |body: &mut Writing| write(kept(&ingest, id).into_iter(), raw, body);
    Ok(soon(work).await?)
}

/// Unlike traces, no summaries are no error.
async fn summaries(State(ingest): State<Arc<Ingest>>, RawQuery(asked): RawQuery) -> Reply {
    let search = query::search(&Parameters::parse(asked.as_deref())?)?;
    let work = move |body: &mut Writing| {
        let traces = ingest.store.search(&search.query);
        let counted = traces.map(|trace| if search.raw { trace } else { without_repeats(trace) });
        let summaries = Lazily::of(counted.map(|trace| json!(Summary::from(&trace))));
        Ok(body.json(&BTreeMap::from([("summaries", summaries)]))?)
    };
    Ok(written(work).await?)
}

fn write(traces: impl Iterator<Item = Trace>, raw: bool, body: &mut Writing) -> Result<(), Refusal> {
    let mut traces = traces.peekable();
    if traces.peek().is_none() {
        return Err(Refusal::not_found("No traces found"));
    }
    let shown = traces.map(|trace| if raw { trace } else { adjusted(trace) });
    Ok(body.json(&otlp::result(shown))?)
}

#[cfg(test)]
mod tests;
