//! Version 1: single traces and dependencies for every UI; search and names for scripts and UIs before v2.19.

mod parameters;
mod response;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::rejection::PathRejection;
use axum::extract::{DefaultBodyLimit, FromRequest as _, Path, RawQuery, Request, State};
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::{get, post};
use serde_json::json;
use tokio::sync::Semaphore;
use tower_http::timeout::TimeoutLayer;

use super::Api;
use super::adjust::Adjuster;
use super::error::ApiError;
use super::parameters::{Parameters, parse_trace_id, path_parameter};
use super::search::now_ns;
use super::{model, respond};
use crate::ingest::Ingest;
use crate::otlp;
use crate::query::streaming::{self, LazySeq, ResponseWriter};
use crate::trace::{Trace, TraceId};
use parameters::{TracesQuery, is_pretty};
use response::{ErrorResponse, StructuredResponse};

pub(super) use parameters::{MILLISECOND, flag, invalid, time};
pub(super) use response::TRACE_NOT_FOUND;

/// OTLP files that are being received or wait to be decoded, up to 16 MiB each.
static UPLOAD_PERMITS: Semaphore = Semaphore::const_new(4);

/// OTLP files being decoded: a decoded file takes a multiple of its length.
static DECODE_PERMIT: Semaphore = Semaphore::const_new(1);

/// Maximum time for receiving and answering an OTLP file.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);

pub(super) type Reply = Result<Response, ErrorResponse>;

pub(super) fn router() -> Router<Api> {
    let transform = Router::new()
        .route("/api/transform", post(transform))
        .layer(DefaultBodyLimit::max(otlp::MAX_MESSAGE))
        .layer(TimeoutLayer::with_status_code(StatusCode::REQUEST_TIMEOUT, REQUEST_TIMEOUT));
    Router::new()
        .route("/api/services", get(services))
        .route("/api/services/{service}/operations", get(operation_names))
        .route("/api/operations", get(operations))
        .route("/api/traces", get(traces))
        .route("/api/traces/{id}", get(trace))
        .route("/api/dependencies", get(dependencies))
        .merge(transform)
}

async fn services(State(ingest): State<Arc<Ingest>>, RawQuery(query): RawQuery) -> Reply {
    let pretty = is_pretty(&Parameters::parse(query.as_deref())?);
    let work =
        move |body: &mut ResponseWriter| StructuredResponse::counted(ingest.services()).write(pretty, body);
    Ok(respond::lookup(work).await?)
}

/// Returns unique operation names. As in Jaeger, `data` is null if there are none.
async fn operation_names(
    State(ingest): State<Arc<Ingest>>,
    service: Result<Path<String>, PathRejection>,
    RawQuery(query): RawQuery,
) -> Reply {
    let pretty = is_pretty(&Parameters::parse(query.as_deref())?);
    let service = path_parameter(service)?;
    let work = move |body: &mut ResponseWriter| {
        let operations = ingest.operations(&service);
        let mut names: Vec<String> = operations.into_iter().map(|(name, _)| name).collect();
        names.dedup();
        let response =
            if names.is_empty() { StructuredResponse::empty() } else { StructuredResponse::counted(names) };
        response.write(pretty, body)
    };
    Ok(respond::lookup(work).await?)
}

async fn operations(State(ingest): State<Arc<Ingest>>, RawQuery(query): RawQuery) -> Reply {
    let parameters = Parameters::parse(query.as_deref())?;
    let ((service, kind), pretty) = (parameters::operations(&parameters)?, is_pretty(&parameters));
    let work = move |body: &mut ResponseWriter| {
        let operations = respond::operations(&ingest, &service, kind.as_deref()).into_iter();
        let data = operations.map(|(name, kind)| json!({ "name": name, "spanKind": kind })).collect();
        StructuredResponse::counted(data).write(pretty, body)
    };
    Ok(respond::lookup(work).await?)
}

/// Searches, or returns traces by id; ids of missing traces are listed in `errors`.
async fn traces(
    State(ingest): State<Arc<Ingest>>,
    State(adjuster): State<Adjuster>,
    RawQuery(query): RawQuery,
) -> Reply {
    let parameters = Parameters::parse(query.as_deref())?;
    let pretty = is_pretty(&parameters);
    let query = parameters::traces(&parameters, now_ns())?;
    let work = move |body: &mut ResponseWriter| match query {
        TracesQuery::Search(search) => {
            let found = ingest.store.search(&search.query);
            let found = found.map(move |trace| adjuster.answer(trace, search.raw));
            StructuredResponse::new(ui_traces(found)).write(pretty, body)
        }
        TracesQuery::Ids { ids, raw } => {
            let (stored, missing): (Vec<_>, Vec<_>) =
                ids.into_iter().partition(|id| ingest.store.bytes_of(*id) > 0);
            let found = stored.into_iter().filter_map(|id| respond::stored_trace(&ingest, id));
            let found = found.map(|trace| adjuster.answer(trace, raw));
            let response = StructuredResponse::new(ui_traces(found));
            response.with_missing(missing.into_iter()).write(pretty, body)
        }
    };
    Ok(respond::search(work).await?)
}

async fn trace(
    State(ingest): State<Arc<Ingest>>,
    State(adjuster): State<Adjuster>,
    id: Result<Path<String>, PathRejection>,
    RawQuery(query): RawQuery,
) -> Reply {
    let id = parse_trace_id(&path_parameter(id)?)?;
    let parameters = Parameters::parse(query.as_deref())?;
    let (raw, pretty) = (parameters::trace(&parameters)?, is_pretty(&parameters));
    let work = move |body: &mut ResponseWriter| {
        let trace = respond::stored_trace(&ingest, id)
            .ok_or_else(|| ApiError::not_found(response::TRACE_NOT_FOUND))?;
        let trace = adjuster.answer(trace, raw);
        StructuredResponse::new(ui_traces(std::iter::once(trace))).write(pretty, body)
    };
    Ok(respond::lookup(work).await?)
}

async fn dependencies(State(ingest): State<Arc<Ingest>>, RawQuery(query): RawQuery) -> Reply {
    let parameters = Parameters::parse(query.as_deref())?;
    let start_ns = parameters::dependencies(&parameters, now_ns())?;
    let (service, pretty) = (parameters.first("service").map(str::to_owned), is_pretty(&parameters));
    let work = move |body: &mut ResponseWriter| {
        let calls = ingest.store.dependencies(&start_ns).into_iter();
        let is_of_service = |parent: &str, child: &str| {
            service.as_deref().is_none_or(|service| service == parent || service == child)
        };
        let data = calls
            .filter(|((parent, child), _)| is_of_service(parent, child))
            .map(|((parent, child), count)| json!({ "parent": parent, "child": child, "callCount": count }));
        StructuredResponse::new(LazySeq::new(data)).write(pretty, body)
    };
    Ok(respond::search(work).await?)
}

/// Converts an OTLP JSON file that was opened in the UI. Its traces are neither stored nor adjusted.
async fn transform(RawQuery(query): RawQuery, request: Request) -> Reply {
    let pretty = is_pretty(&Parameters::parse(query.as_deref())?);
    // Before the body is received.
    let permit = streaming::acquire_or_busy(&UPLOAD_PERMITS, 1).await.map_err(ApiError::from)?;
    let file = Bytes::from_request(request, &()).await;
    let file =
        file.map_err(|rejection| ApiError { status: rejection.status(), message: rejection.body_text() })?;
    // Invalid UTF-8 is replaced, so that the rest of the file can be read.
    let file = String::from_utf8(file.into())
        .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned());
    let work = move |body: &mut ResponseWriter| {
        let _permit = permit;
        StructuredResponse::new(ui_traces(decode(&file)?.into_iter())).write(pretty, body)
    };
    Ok(respond::json_response(&DECODE_PERMIT, work).await?)
}

/// Converts traces one by one, since a trace in the UI's model takes several times its encoded size.
fn ui_traces(traces: impl Iterator<Item = Trace>) -> LazySeq<impl Iterator<Item = model::TraceJson>> {
    LazySeq::new(traces.map(|trace| model::TraceJson::from(&trace)))
}

/// Decodes an OTLP JSON message into traces, in the order of their first spans.
fn decode(message: &str) -> Result<Vec<Trace>, ApiError> {
    let invalid =
        |error: &dyn std::fmt::Display| ApiError::bad_request(format!("cannot unmarshal OTLP: {error}"));
    // serde would accept a list of the message's fields.
    if !message.trim_start().starts_with('{') {
        return Err(invalid(&"not a JSON object"));
    }
    if !otlp::is_within_json_limit(message.as_bytes()) {
        return Err(invalid(&"too many JSON objects in one message"));
    }
    let spans = otlp::from_json_line(message).map_err(|error| invalid(&error))?.spans;
    let mut positions: HashMap<TraceId, usize> = HashMap::new();
    let mut traces: Vec<Trace> = Vec::new();
    for span in spans {
        let position = *positions.entry(span.trace_id).or_insert_with(|| {
            traces.push(Trace::default());
            traces.len() - 1
        });
        traces[position].spans.push(span);
    }
    Ok(traces)
}

#[cfg(test)]
mod tests;
