//! Version 3: the search page of the UI since v2.19. Traces are OTLP JSON, and times are nanoseconds.

mod parameters;
mod otlp_json;
mod summary;

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Router;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, RawQuery, State};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde_json::json;

use super::Api;
use super::adjust::Adjuster;
use super::error::ApiError;
use super::parameters::{Parameters, parse_trace_id, path_parameter};
use super::{group, respond};
use crate::ingest::Ingest;
use crate::query::streaming::{LazySeq, ResponseWriter};
use crate::trace::Trace;

pub(super) use parameters::malformed;
pub(super) use summary::{ServiceSummary, TraceSummary};

pub(super) fn router() -> Router<Api> {
    Router::new()
        .route("/api/v3/services", get(services))
        .route("/api/v3/operations", get(operations))
        .route("/api/v3/traces", get(traces))
        .route("/api/v3/traces/{id}", get(trace))
        .route("/api/v3/trace-summaries", get(summaries))
}

type Reply = Result<Response, ErrorResponse>;

/// `{"error":{"httpCode":404,"message":"No traces found"}}`
#[derive(Debug)]
struct ErrorResponse(ApiError);

impl From<ApiError> for ErrorResponse {
    fn from(error: ApiError) -> Self {
        Self(error)
    }
}

impl IntoResponse for ErrorResponse {
    fn into_response(self) -> Response {
        let Self(ApiError { status, message }) = self;
        let error = json!({ "httpCode": status.as_u16(), "message": message });
        (status, axum::Json(json!({ "error": error }))).into_response()
    }
}

async fn services(State(ingest): State<Arc<Ingest>>) -> Reply {
    let work =
        move |body: &mut ResponseWriter| Ok(body.json(&BTreeMap::from([("services", ingest.services())]))?);
    Ok(respond::lookup(work).await?)
}

/// Returns operations and their kinds. As in Jaeger, an unspecified kind is returned as `internal`, although a search for
/// internal spans does not match it.
async fn operations(State(ingest): State<Arc<Ingest>>, RawQuery(query): RawQuery) -> Reply {
    let (service, kind) = parameters::operations(&Parameters::parse(query.as_deref())?);
    let operation = |(name, kind): (String, &str)| {
        let kind = if kind.is_empty() { "internal" } else { kind };
        json!({ "name": name, "spanKind": kind })
    };
    let work = move |body: &mut ResponseWriter| {
        let operations = respond::operations(&ingest, &service, kind.as_deref());
        let operations = LazySeq::new(operations.into_iter().map(operation));
        Ok(body.json(&BTreeMap::from([("operations", operations)]))?)
    };
    Ok(respond::lookup(work).await?)
}

async fn traces(
    State(ingest): State<Arc<Ingest>>,
    State(adjuster): State<Adjuster>,
    RawQuery(query): RawQuery,
) -> Reply {
    let search = parameters::search(&Parameters::parse(query.as_deref())?)?;
    let work = move |body: &mut ResponseWriter| {
        let found = ingest.store.search(&search.query);
        write(found.map(|trace| adjuster.answer(trace, search.raw)), body)
    };
    Ok(respond::search(work).await?)
}

async fn trace(
    State(ingest): State<Arc<Ingest>>,
    State(adjuster): State<Adjuster>,
    id: Result<Path<String>, PathRejection>,
    RawQuery(query): RawQuery,
) -> Reply {
    let id = parse_trace_id(&path_parameter(id)?)
        .map_err(|error| parameters::malformed("trace_id", &error.message))?;
    let raw = parameters::trace(&Parameters::parse(query.as_deref())?)?;
    let work = move |body: &mut ResponseWriter| {
        let found = respond::stored_trace(&ingest, id).into_iter();
        write(found.map(|trace| adjuster.answer(trace, raw)), body)
    };
    Ok(respond::lookup(work).await?)
}

/// Returns summaries of the traces found. Unlike `/api/v3/traces`, an empty result is not an error.
async fn summaries(
    State(ingest): State<Arc<Ingest>>,
    State(adjuster): State<Adjuster>,
    RawQuery(query): RawQuery,
) -> Reply {
    let search = parameters::search(&Parameters::parse(query.as_deref())?)?;
    let work = move |body: &mut ResponseWriter| {
        let traces = ingest.store.search(&search.query);
        let counted = traces.map(|trace| adjuster.summarized(trace, search.raw));
        let summaries = LazySeq::new(counted.map(|trace| json!(TraceSummary::from(&trace))));
        Ok(body.json(&BTreeMap::from([("summaries", summaries)]))?)
    };
    Ok(respond::search(work).await?)
}

fn write(traces: impl Iterator<Item = Trace>, body: &mut ResponseWriter) -> Result<(), ApiError> {
    let mut traces = traces.peekable();
    if traces.peek().is_none() {
        return Err(ApiError::not_found("No traces found"));
    }
    Ok(body.json(&otlp_json::result(traces.map(group::by_resource)))?)
}

#[cfg(test)]
mod tests;
