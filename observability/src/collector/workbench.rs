//! What the workbench asks of the collector: the ledger, the hops, traces to keep.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{DefaultBodyLimit, Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::json;
use tokio::sync::{Semaphore, mpsc};
use tower_http::timeout::TimeoutLayer;

use crate::heavy::{self, Unanswered};
use crate::ingest::Ingest;
use crate::ledger::Ledger;
use crate::otlp;
use crate::span::TraceId;
use crate::store::{Class, Found};

const LEDGER_TRACES: usize = 10_000;
const EXPORT_TRACES: usize = 500;

/// Traces that are written before the first of them is sent.
const LINES_AT_ONCE: usize = 64;

/// Everything is given to so many at once; others wait.
static EXPORTS: Semaphore = Semaphore::const_new(4);
/// Other questions that take long are answered so many at a time; the rest wait.
static ROOM: Semaphore = Semaphore::const_new(4);

/// A peer that takes longer to send its question does not get an answer.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);
const NDJSON: &str = "application/x-ndjson";

/// Room for [`LEDGER_TRACES`] ids with their quotes and commas, and some blanks.
const MAX_BODY: usize = 1 << 20;

pub(super) fn router(ingest: Arc<Ingest>) -> Router {
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
async fn ledger(State(ingest): State<Arc<Ingest>>, Json(Traces { traces }): Json<Traces>) -> Response {
    if traces.len() > LEDGER_TRACES {
        return too_many(LEDGER_TRACES);
    }
    off_runtime(move || {
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
        Json(ledger).into_response()
    })
    .await
}

/// Latencies of every (service, operation, kind) since the start, with their histograms if asked for.
async fn hops(State(ingest): State<Arc<Ingest>>, Query(Hops { histograms }): Query<Hops>) -> Response {
    off_runtime(move || {
        let hops = ingest.hops(histograms);
        Json(json!({ "hops": hops })).into_response()
    })
    .await
}

/// Those of the traces that are kept, each once as a line of OTLP JSON, in the order asked.
async fn traces(State(ingest): State<Arc<Ingest>>, Json(Traces { traces }): Json<Traces>) -> Response {
    if traces.len() > EXPORT_TRACES {
        return too_many(EXPORT_TRACES);
    }
    // A large trace that is named five hundred times would be a reply of gigabytes.
    let traces = once_each(traces);
    off_runtime(move || match lines(&ingest, &traces) {
        Ok(lines) => ([(header::CONTENT_TYPE, NDJSON)], lines).into_response(),
        Err(error) => {
            tracing::error!(%error, "a trace could not be written");
            problem(StatusCode::INTERNAL_SERVER_ERROR, "internal error")
        }
    })
    .await
}

/// Everything that is kept, each trace a line of OTLP JSON, the first seen first.
async fn all_traces(State(ingest): State<Arc<Ingest>>) -> Response {
    let Ok(room) = EXPORTS.acquire().await else {
        return problem(StatusCode::INTERNAL_SERVER_ERROR, "internal error");
    };
    let (written, lines) = mpsc::channel::<Result<Bytes, axum::BoxError>>(2);
    tokio::spawn(async move {
        let _room = room;
        for ids in ingest.store.ids().chunks(LINES_AT_ONCE) {
            let (from, ids) = (Arc::clone(&ingest), ids.to_vec());
            let some = tokio::task::spawn_blocking(move || self::lines(&from, &ids).map(Bytes::from)).await;
            let some = some.map_err(Into::into).and_then(|some| some.map_err(Into::into));
            // Nobody reads on.
            if written.send(some).await.is_err() {
                return;
            }
        }
    });
    let lines =
        futures::stream::unfold(lines, async |mut lines| lines.recv().await.map(|some| (some, lines)));
    ([(header::CONTENT_TYPE, NDJSON)], Body::from_stream(lines)).into_response()
}

/// What the collector knows beside its traces; with them it can be opened again.
async fn state(State(ingest): State<Arc<Ingest>>) -> Response {
    off_runtime(move || Json(ingest.knowledge()).into_response()).await
}

/// What is kept for what, and the ids of the uniform sample: what holds of it holds of all traces that ever came.
async fn retention(State(ingest): State<Arc<Ingest>>) -> Response {
    off_runtime(move || {
        let kept = ingest.store.kept();
        let class = |(class, traces, bytes): (Class, usize, usize)| {
            (class.as_str().to_owned(), json!({ "traces": traces, "bytes": bytes }))
        };
        let classes: serde_json::Map<_, _> = kept.classes.into_iter().map(class).collect();
        let sample = json!({ "share": kept.sampled_share, "traces": kept.sample });
        Json(json!({ "classes": classes, "sample": sample })).into_response()
    })
    .await
}

fn once_each(mut traces: Vec<TraceId>) -> Vec<TraceId> {
    let mut seen = HashSet::new();
    traces.retain(|id| seen.insert(*id));
    traces
}

fn lines(ingest: &Ingest, ids: &[TraceId]) -> Result<String, serde_json::Error> {
    let mut lines = String::new();
    for id in ids {
        if let Found::Kept(trace) = ingest.store.get(*id) {
            lines += &otlp::to_json_line(&trace)?;
            lines.push('\n');
        }
    }
    Ok(lines)
}

async fn off_runtime(work: impl FnOnce() -> Response + Send + 'static) -> Response {
    let done = heavy::answer(&ROOM, || Ok(work())).await;
    done.unwrap_or_else(|unanswered| match unanswered {
        Unanswered::BrokeOff => problem(StatusCode::INTERNAL_SERVER_ERROR, "internal error"),
        Unanswered::Busy => problem(StatusCode::SERVICE_UNAVAILABLE, heavy::BUSY),
    })
}

fn too_many(limit: usize) -> Response {
    problem(StatusCode::BAD_REQUEST, &format!("at most {limit} traces a call"))
}

fn problem(status: StatusCode, error: &str) -> Response {
    (status, Json(json!({ "error": error }))).into_response()
}
