//! Jaeger's query API over the store, for its UI and other clients.
//!
//! The JSON around the data, units, defaults and error texts are those of Jaeger 2.20, API versions 1 and 3. Malformed
//! requests get 400, missing traces 404, and internal failures 500 without details.

mod error;
mod parameters;
mod search;
mod respond;
mod adjust;
mod group;
mod protocol;
mod model;
mod ui_json;
mod v1;
mod monitor;
mod v3;
pub(crate) mod grpc;

use std::sync::Arc;

use axum::Router;
use axum::extract::FromRef;
use axum::http::StatusCode;
use axum::routing::any;

use crate::ingest::Ingest;

pub(crate) use adjust::Adjuster;
pub use ui_json::UiTrace;

/// State of the handlers.
#[derive(Debug, Clone)]
struct Api {
    ingest: Arc<Ingest>,
    adjuster: Adjuster,
}

impl FromRef<Api> for Arc<Ingest> {
    fn from_ref(api: &Api) -> Self {
        Self::clone(&api.ingest)
    }
}

impl FromRef<Api> for Adjuster {
    fn from_ref(api: &Api) -> Self {
        api.adjuster
    }
}

pub(crate) fn router(ingest: Arc<Ingest>, adjuster: Adjuster) -> Router {
    Router::new()
        .merge(v1::router())
        .merge(monitor::router())
        .merge(v3::router())
        // Unknown paths below `/api` are errors, while other unknown paths may be answered with the UI's page.
        .route("/api", any(unknown))
        .route("/api/", any(unknown))
        .route("/api/{*rest}", any(unknown))
        .with_state(Api { ingest, adjuster })
}

async fn unknown() -> (StatusCode, &'static str) {
    (StatusCode::NOT_FOUND, "404 page not found\n")
}

#[cfg(test)]
mod tests;
