//! What the workbench asks of the collector: the ledger, the hops, traces to keep.

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
use opentelemetry_proto::tonic::trace::v1::TracesData;
use serde::Deserialize;
use serde_json::json;
use tokio::sync::Semaphore;
use tower_http::timeout::TimeoutLayer;

use crate::ingest::Ingest;
use crate::ledger::Ledger;
use crate::otlp::resource_spans;
use crate::query::answer::{self, Lazily, Unanswered, Writing};
use crate::store::{Class, Found};
use crate::trace::TraceId;

const LEDGER_TRACES: usize = 10_000;
const EXPORT_TRACES: usize = 500;

/// Traces are given to so many at once; others wait.
static EXPORTS: Semaphore = Semaphore::const_new(4);
/// What it knows is copied for whoever asks: once at a time.
static COPIES: Semaphore = Semaphore::const_new(1);
/// Other questions that take long are answered so many at a time; the rest wait.
static ROOM: Semaphore = Semaphore::const_new(4);

/// A peer that takes longer to send its question does not get an answer.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);
const JSON: &str = "application/json";
const NDJSON: &str = "application/x-ndjson";

/// Room for [`LEDGER_TRACES`] ids with their quotes and commas, and some blanks.
const MAX_BODY: usize = 1 << 20;

pub(crate) fn router(ingest: Arc<Ingest>) -> Router {
    Router::new()
        .route("/api/workbench/ledger", post(ledger))
        .route("/api/workbench/hops", get(hops))
        .route("/api/workbench/traces", get(all_traces).post(traces))
        .route("/api/workbench/state", get(state))
        .route("/api/workbench/retention", get(retention))
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .layer(TimeoutLayer::with_status_code(StatusCode::REQUEST_TIMEOUT, REQUEST_TIMEOUT))
        .with_state(ingest)
}

#[derive(Debug, Deserialize)]
struct Traces {
    traces: Vec<TraceId>,
}

#[derive(Debug, Deserialize)]
struct Hops {
    #[serde(default)]
    histograms: bool,
}

/// Which row each of the traces stands in.
async fn ledger(
    State(ingest): State<Arc<Ingest>>,
    question: Result<Json<Traces>, JsonRejection>,
) -> Response {
    let traces = match asked(question, LEDGER_TRACES) {
        Ok(traces) => traces,
        Err((status, why)) => return problem(status, &why),
    };
    written(move |body| {
        let mut times: HashMap<TraceId, u64> = HashMap::new();
        traces.iter().for_each(|id| *times.entry(*id).or_default() += 1);
        let mut ledger = Ledger::default();
        for id in traces {
            // Where it is named first: to decode it again each time would be ten thousand times the work.
            if let Some(times) = times.remove(&id) {
                let lost = ingest.losses().names(id);
                ledger.enter(id, times, &ingest.store.get(id), lost);
            }
        }
        body.json(&ledger)
    })
    .await
}

/// Latencies of every (service, operation, kind) since the start, with their histograms if asked for.
async fn hops(State(ingest): State<Arc<Ingest>>, Query(Hops { histograms }): Query<Hops>) -> Response {
    written(move |body| {
        let hops = ingest.hops(histograms);
        body.json(&BTreeMap::from([("hops", Lazily::of(hops.iter().map(|hop| json!(hop))))]))
    })
    .await
}

/// Those of the traces that are kept, each once as a line of OTLP JSON, in the order asked.
async fn traces(
    State(ingest): State<Arc<Ingest>>,
    question: Result<Json<Traces>, JsonRejection>,
) -> Response {
    let traces = match asked(question, EXPORT_TRACES) {
        Ok(traces) => traces,
        Err((status, why)) => return problem(status, &why),
    };
    // A large trace that is named five hundred times would be a reply of gigabytes.
    let traces = once_each(traces);
    let work = move |body: &mut Writing| write_lines(&ingest, traces, body);
    answered(answer::written(&EXPORTS, None, NDJSON, work).await)
}

/// Everything that is kept, each trace a line of OTLP JSON, the first seen first.
async fn all_traces(State(ingest): State<Arc<Ingest>>) -> Response {
    let work = move |body: &mut Writing| write_lines(&ingest, ingest.store.ids(), body);
    answered(answer::written(&EXPORTS, None, NDJSON, work).await)
}

/// What the collector knows beside its traces; with them it can be opened again.
async fn state(State(ingest): State<Arc<Ingest>>) -> Response {
    let work = move |body: &mut Writing| body.json(&ingest.knowledge());
    answered(answer::written(&COPIES, None, JSON, work).await)
}

/// What is kept for what, and the ids of the uniform sample: what holds of it holds of all traces that ever came.
async fn retention(State(ingest): State<Arc<Ingest>>) -> Response {
    written(move |body| {
        let kept = ingest.store.kept();
        let class = |(class, traces, bytes): (Class, usize, usize)| {
            (class.as_str().to_owned(), json!({ "traces": traces, "bytes": bytes }))
        };
        let classes: serde_json::Map<_, _> = kept.classes.into_iter().map(class).collect();
        let sample = json!({ "share": kept.sampled_share, "traces": kept.sample });
        body.json(&json!({ "classes": classes, "sample": sample }))
    })
    .await
}

fn once_each(mut traces: Vec<TraceId>) -> Vec<TraceId> {
    let mut seen = HashSet::new();
    traces.retain(|id| seen.insert(*id));
    traces
}

fn write_lines(ingest: &Ingest, ids: Vec<TraceId>, body: &mut Writing) -> Result<(), Unanswered> {
    for id in ids {
        if let Found::Kept(trace) = ingest.store.get(id) {
            body.json(&TracesData { resource_spans: resource_spans(&trace) })?;
            body.write_all(b"\n")?;
        }
    }
    Ok(())
}

async fn written(work: impl FnOnce(&mut Writing) -> Result<(), Unanswered> + Send + 'static) -> Response {
    answered(answer::written(&ROOM, Some(&answer::LONG_ROOM), JSON, work).await)
}

fn answered(answer: Result<Response, Unanswered>) -> Response {
    answer.unwrap_or_else(|unanswered| match unanswered {
        Unanswered::BrokeOff => problem(StatusCode::INTERNAL_SERVER_ERROR, "internal error"),
        Unanswered::Busy => problem(StatusCode::SERVICE_UNAVAILABLE, answer::BUSY),
    })
}

/// The traces that are asked for, or what is wrong with the question.
fn asked(
    question: Result<Json<Traces>, JsonRejection>,
    limit: usize,
) -> Result<Vec<TraceId>, (StatusCode, String)> {
    let Json(Traces { traces }) = question.map_err(|rejection| match rejection.status() {
        StatusCode::PAYLOAD_TOO_LARGE => (StatusCode::PAYLOAD_TOO_LARGE, rejection.body_text()),
        _ => (StatusCode::BAD_REQUEST, rejection.body_text()),
    })?;
    if traces.len() > limit {
        return Err((StatusCode::BAD_REQUEST, format!("at most {limit} traces a call")));
    }
    Ok(traces)
}

fn problem(status: StatusCode, error: &str) -> Response {
    (status, Json(json!({ "error": error }))).into_response()
}
