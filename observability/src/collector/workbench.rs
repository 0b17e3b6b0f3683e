//! What the workbench asks of the collector: the ledger, the hops, traces to keep.

use std::sync::Arc;

use axum::extract::{DefaultBodyLimit, Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::json;

use crate::ingest::Ingest;
use crate::ledger::Ledger;
use crate::otlp;
use crate::span::TraceId;
use crate::store::Found;

const LEDGER_TRACES: usize = 10_000;
const EXPORT_TRACES: usize = 500;

/// Room for [`LEDGER_TRACES`] ids with their quotes and commas, and some blanks.
const MAX_BODY: usize = 1 << 20;

pub(super) fn router(ingest: Arc<Ingest>) -> Router {
    Router::new()
        .route("/api/workbench/ledger", post(ledger))
        .route("/api/workbench/hops", get(hops))
        .route("/api/workbench/traces", post(traces))
        .layer(DefaultBodyLimit::max(MAX_BODY))
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
        let mut ledger = Ledger::default();
        for id in traces {
            let lost = ingest.losses().names(id);
            ledger.enter(id, &ingest.store.get(id), lost);
        }
        Json(ledger).into_response()
    })
    .await
}

/// Latencies of every (service, operation, kind) since the start, with their histograms if asked for.
async fn hops(State(ingest): State<Arc<Ingest>>, Query(Hops { histograms }): Query<Hops>) -> Response {
    off_runtime(move || {
        let hops = ingest.latencies().hops(histograms);
        Json(json!({ "hops": hops })).into_response()
    })
    .await
}

/// Those of the traces that are kept, each as a line of OTLP JSON, in the order asked.
async fn traces(State(ingest): State<Arc<Ingest>>, Json(Traces { traces }): Json<Traces>) -> Response {
    if traces.len() > EXPORT_TRACES {
        return too_many(EXPORT_TRACES);
    }
    off_runtime(move || {
        let mut lines = String::new();
        for id in traces {
            if let Found::Kept(trace) = ingest.store.get(id) {
                match otlp::to_json_line(&trace) {
                    Ok(line) => lines.extend([line.as_str(), "\n"]),
                    Err(error) => return problem(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()),
                }
            }
        }
        ([(header::CONTENT_TYPE, "application/x-ndjson")], lines).into_response()
    })
    .await
}

/// Decoding thousands of traces would hold up those who ask little, and the receivers.
async fn off_runtime(work: impl FnOnce() -> Response + Send + 'static) -> Response {
    match tokio::task::spawn_blocking(work).await {
        Ok(response) => response,
        Err(error) => {
            tracing::error!(%error, "a query failed");
            problem(StatusCode::INTERNAL_SERVER_ERROR, "internal error")
        }
    }
}

fn too_many(limit: usize) -> Response {
    problem(StatusCode::BAD_REQUEST, &format!("at most {limit} traces a call"))
}

fn problem(status: StatusCode, error: &str) -> Response {
    (status, Json(json!({ "error": error }))).into_response()
}
