//! Jaeger's query API over the store: what its UI, its clients and scripts ask.
//!
//! Envelopes, units and error shapes are those of Jaeger 2.20.

mod model;

use std::sync::Arc;

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde::Serialize;
use serde_json::json;

use crate::ingest::Ingest;
use crate::span::TraceId;
use crate::store::Found;

pub(crate) fn router(ingest: Arc<Ingest>) -> Router {
    Router::new()
        .route("/api/services", get(services_v1))
        .route("/api/traces/{id}", get(trace_v1))
        .route("/api/v3/services", get(services_v3))
        .with_state(ingest)
}

/// Version 1's envelope. `total` is set by some endpoints only.
#[derive(Debug, Serialize)]
struct Envelope<T> {
    data: Option<Vec<T>>,
    total: usize,
    limit: usize,
    offset: usize,
    errors: Option<Vec<ApiError>>,
}

#[derive(Debug, Serialize)]
struct ApiError {
    code: u16,
    msg: String,
}

impl<T> Envelope<T> {
    fn of(data: Vec<T>) -> Self {
        Self { data: Some(data), total: 0, limit: 0, offset: 0, errors: None }
    }
}

async fn services_v1(State(ingest): State<Arc<Ingest>>) -> Response {
    let services = ingest.latencies().services();
    let total = services.len();
    Json(Envelope { total, ..Envelope::of(services) }).into_response()
}

async fn services_v3(State(ingest): State<Arc<Ingest>>) -> Response {
    let services = ingest.latencies().services();
    Json(json!({ "services": services })).into_response()
}

async fn trace_v1(State(ingest): State<Arc<Ingest>>, id: Result<Path<String>, PathRejection>) -> Response {
    let Ok(Path(id)) = id else {
        return refuse(StatusCode::BAD_REQUEST, "invalid trace id: not UTF-8".to_owned());
    };
    let id: TraceId = match id.parse() {
        Ok(id) => id,
        Err(error) => return refuse(StatusCode::BAD_REQUEST, format!("invalid trace id {id:?}: {error}")),
    };
    // A trace may be large, and building its JSON must not hold up the receivers.
    let shown = tokio::task::spawn_blocking(move || match ingest.store.get(id) {
        Found::Kept(trace) => Json(Envelope::of(vec![model::Trace::from(&trace)])).into_response(),
        Found::Evicted | Found::Nothing => refuse(StatusCode::NOT_FOUND, "trace not found".to_owned()),
    });
    shown.await.unwrap_or_else(|error| {
        tracing::error!(%error, "a trace could not be shown");
        refuse(StatusCode::INTERNAL_SERVER_ERROR, "internal error".to_owned())
    })
}

fn refuse(status: StatusCode, msg: String) -> Response {
    let errors = Some(vec![ApiError { code: status.as_u16(), msg }]);
    let envelope: Envelope<()> = Envelope { data: None, total: 0, limit: 0, offset: 0, errors };
    (status, Json(envelope)).into_response()
}

#[cfg(test)]
mod tests;
