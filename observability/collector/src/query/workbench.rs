//! The workbench API: ledger, hops, retention, and export of stored traces.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::io::Write as _;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::rejection::JsonRejection;
use axum::extract::{DefaultBodyLimit, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::json;
use tokio::sync::Semaphore;
use tower_http::timeout::TimeoutLayer;

use super::streaming::{self, LazySeq, QueryError, ResponseWriter};
use crate::ingest::Ingest;
use crate::latency::GroupHops;
use crate::ledger::Ledger;
use crate::otlp::TraceJson;
use crate::store::{Lookup, RetentionClass};
use crate::trace::{TraceGroup, TraceId};

/// Maximum number of trace ids in a request to the ledger.
const MAX_LEDGER_TRACES: usize = 10_000;
/// Maximum number of trace ids in a request for traces.
const MAX_EXPORT_TRACES: usize = 500;

/// Maximum number of trace groups in a request.
const MAX_NEW_GROUPS: usize = 8;

/// Exports of traces in progress; further ones wait.
static EXPORT_PERMITS: Semaphore = Semaphore::const_new(4);
/// Copies of the collector's state in progress.
static STATE_PERMIT: Semaphore = Semaphore::const_new(1);
/// Other queries in progress.
static QUERY_PERMITS: Semaphore = Semaphore::const_new(4);

/// Maximum time for receiving and answering a request.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);
const JSON: &str = "application/json";
const NDJSON: &str = "application/x-ndjson";

/// Maximum length of a request body: enough for [`MAX_LEDGER_TRACES`] ids with quotes, commas and blanks.
const MAX_BODY: usize = 1 << 20;

pub(crate) fn router(ingest: Arc<Ingest>) -> Router {
    Router::new()
        .route("/api/workbench/ledger", post(ledger))
        .route("/api/workbench/hops", get(hops))
        .route("/api/workbench/groups", post(register_groups))
        .route("/api/workbench/traces", get(all_traces).post(traces))
        .route("/api/workbench/state", get(state))
        .route("/api/workbench/retention", get(retention))
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .layer(TimeoutLayer::with_status_code(StatusCode::REQUEST_TIMEOUT, REQUEST_TIMEOUT))
        .with_state(ingest)
}

#[derive(Debug, Deserialize)]
struct TraceIds {
    traces: Vec<TraceId>,
}

#[derive(Debug, Deserialize)]
struct HopsQuery {
    #[serde(default)]
    histograms: bool,
    /// The rows of this trace group only.
    group: Option<TraceGroup>,
}

#[derive(Debug, Deserialize)]
struct Groups {
    groups: Vec<TraceGroup>,
}

/// `POST /api/workbench/ledger`: returns the ledger of the given traces.
async fn ledger(
    State(ingest): State<Arc<Ingest>>,
    request: Result<Json<TraceIds>, JsonRejection>,
) -> Response {
    let traces = match trace_ids(request, MAX_LEDGER_TRACES) {
        Ok(traces) => traces,
        Err((status, error)) => return problem(status, &error),
    };
    respond(move |body| {
        let mut counts: HashMap<TraceId, u64> = HashMap::new();
        traces.iter().for_each(|id| *counts.entry(*id).or_default() += 1);
        let mut ledger = Ledger::default();
        for id in traces {
            // At the first occurrence of an id: decoding a trace once for each of 10,000 occurrences would take too long.
            if let Some(count) = counts.remove(&id) {
                let lost = ingest.losses().contains(id);
                ledger.enter(id, count, &ingest.store.get(id), lost);
            }
        }
        body.json(&ledger)
    })
    .await
}

/// `GET /api/workbench/hops`: returns the latencies of every (service, operation, kind) since the start; with
/// `histograms=true` also their histograms. `group=ID` selects the spans of a trace group since its registration; 404 if the
/// group is not registered.
async fn hops(
    State(ingest): State<Arc<Ingest>>,
    Query(HopsQuery { histograms, group }): Query<HopsQuery>,
) -> Response {
    if let Some(group) = group {
        let Some(GroupHops { hops, overflow }) = ingest.group_hops(group, histograms) else {
            return problem(StatusCode::NOT_FOUND, "trace group not registered");
        };
        return respond(move |body| body.json(&json!({ "hops": hops, "overflow": overflow }))).await;
    }
    respond(move |body| {
        let hops = ingest.hops(histograms);
        body.json(&BTreeMap::from([("hops", LazySeq::new(hops.iter().map(|hop| json!(hop))))]))
    })
    .await
}

/// `POST /api/workbench/groups`: counts the spans of the given trace groups apart from now on. A group is given as the first
/// 16 digits of the ids of its traces.
async fn register_groups(
    State(ingest): State<Arc<Ingest>>,
    request: Result<Json<Groups>, JsonRejection>,
) -> Response {
    let groups = match request {
        Ok(Json(Groups { groups })) if groups.len() <= MAX_NEW_GROUPS => groups,
        Ok(Json(Groups { groups })) => {
            let error = format!("{} groups exceed the limit of {MAX_NEW_GROUPS} per request", groups.len());
            return problem(StatusCode::BAD_REQUEST, &error);
        }
        Err(rejection) => return problem(StatusCode::BAD_REQUEST, &rejection.body_text()),
    };
    groups.into_iter().for_each(|group| ingest.latencies().register_group(group));
    StatusCode::NO_CONTENT.into_response()
}

/// `POST /api/workbench/traces`: returns the given traces that are stored, one line of OTLP JSON each, in the order given.
async fn traces(
    State(ingest): State<Arc<Ingest>>,
    request: Result<Json<TraceIds>, JsonRejection>,
) -> Response {
    let traces = match trace_ids(request, MAX_EXPORT_TRACES) {
        Ok(traces) => traces,
        Err((status, error)) => return problem(status, &error),
    };
    // Repeating a large trace 500 times would produce gigabytes.
    let traces = without_duplicates(traces);
    let work = move |body: &mut ResponseWriter| write_lines(&ingest, traces, body);
    into_response(streaming::stream(&EXPORT_PERMITS, None, NDJSON, work).await)
}

/// `GET /api/workbench/traces`: returns all stored traces, one line of OTLP JSON each, in the order of arrival.
async fn all_traces(State(ingest): State<Arc<Ingest>>) -> Response {
    let work = move |body: &mut ResponseWriter| write_lines(&ingest, ingest.store.ids(), body);
    into_response(streaming::stream(&EXPORT_PERMITS, None, NDJSON, work).await)
}

/// `GET /api/workbench/state`: returns the collector's state apart from its traces. A collector can be restored from both.
async fn state(State(ingest): State<Arc<Ingest>>) -> Response {
    let work = move |body: &mut ResponseWriter| body.json(&ingest.snapshot());
    into_response(streaming::stream(&STATE_PERMIT, None, JSON, work).await)
}

/// `GET /api/workbench/retention`: returns the number and bytes of stored traces by retention class, and the ids of
/// the uniform sample, which represents all traces ever received.
async fn retention(State(ingest): State<Arc<Ingest>>) -> Response {
    respond(move |body| {
        let retention = ingest.store.retention();
        let class = |(class, traces, bytes): (RetentionClass, usize, usize)| {
            (class.as_str().to_owned(), json!({ "traces": traces, "bytes": bytes }))
        };
        let classes: serde_json::Map<_, _> = retention.classes.into_iter().map(class).collect();
        let sample = json!({ "share": retention.sampled_share, "traces": retention.sample });
        body.json(&json!({ "classes": classes, "sample": sample }))
    })
    .await
}

fn without_duplicates(mut traces: Vec<TraceId>) -> Vec<TraceId> {
    let mut seen = HashSet::new();
    traces.retain(|id| seen.insert(*id));
    traces
}

fn write_lines(ingest: &Ingest, ids: Vec<TraceId>, body: &mut ResponseWriter) -> Result<(), QueryError> {
    for id in ids {
        if let Lookup::Stored(trace) = ingest.store.get(id) {
            body.json(&TraceJson(&trace))?;
            body.write_all(b"\n")?;
        }
    }
    Ok(())
}

async fn respond(
    work: impl FnOnce(&mut ResponseWriter) -> Result<(), QueryError> + Send + 'static,
) -> Response {
    into_response(streaming::stream(&QUERY_PERMITS, Some(&streaming::STREAM_PERMIT), JSON, work).await)
}

fn into_response(result: Result<Response, QueryError>) -> Response {
    result.unwrap_or_else(|error| match error {
        QueryError::Failed => problem(StatusCode::INTERNAL_SERVER_ERROR, "internal error"),
        QueryError::Busy => problem(StatusCode::SERVICE_UNAVAILABLE, streaming::BUSY),
    })
}

/// Returns the trace ids of a request, or why it is rejected.
fn trace_ids(
    request: Result<Json<TraceIds>, JsonRejection>,
    limit: usize,
) -> Result<Vec<TraceId>, (StatusCode, String)> {
    let Json(TraceIds { traces }) = request.map_err(|rejection| match rejection.status() {
        StatusCode::PAYLOAD_TOO_LARGE => (StatusCode::PAYLOAD_TOO_LARGE, rejection.body_text()),
        _ => (StatusCode::BAD_REQUEST, rejection.body_text()),
    })?;
    if traces.len() > limit {
        return Err((
            StatusCode::BAD_REQUEST,
            format!("{} trace ids exceed the limit of {limit} per request", traces.len()),
        ));
    }
    Ok(traces)
}

fn problem(status: StatusCode, error: &str) -> Response {
    (status, Json(json!({ "error": error }))).into_response()
}
