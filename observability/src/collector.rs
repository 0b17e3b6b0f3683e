//! The collector: OTLP in; Jaeger's query API, the hops table and the ledger out.
//!
//! What it has answered with success is in the store, or counted as forgotten, before the answer leaves. So a stop
//! loses nothing that was accepted: the receivers finish what is in flight, then what waits to be passed on is.

mod metrics;
mod workbench;

use std::io;
use std::sync::Arc;

use axum::Router;
use axum::http::{StatusCode, header};
use axum::routing::get;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::forward::Forward;
use crate::ingest::Ingest;
use crate::{jaeger, otlp, server};

/// Where the collector listens and how much it keeps.
#[derive(Debug)]
pub struct Settings {
    /// OTLP/gRPC.
    pub grpc: TcpListener,
    /// OTLP/HTTP.
    pub http: TcpListener,
    /// The query API, health and metrics.
    pub query: TcpListener,
    /// Bytes of kept spans.
    pub store_max_bytes: usize,
    /// An OTLP/gRPC endpoint (`http://host:port`) that everything is passed on to.
    pub forward: Option<String>,
}

/// Collects until `shutdown`, then answers what is in flight and returns. Fails on an endpoint to forward to that is
/// no `http://host:port`, or when a listener breaks.
pub async fn run(settings: Settings, shutdown: CancellationToken) -> io::Result<()> {
    let stop_forwarding = CancellationToken::new();
    let (forward, forwarding) = match &settings.forward {
        Some(endpoint) => {
            let (forward, task) = Forward::start(endpoint, stop_forwarding.clone())?;
            (Some(forward), Some(task))
        }
        None => (None, None),
    };
    let ingest = Arc::new(Ingest::new(settings.store_max_bytes, forward));
    let query = query(&ingest, &shutdown);
    let served = tokio::try_join!(
        otlp::grpc::serve(settings.grpc, Arc::clone(&ingest), shutdown.clone()),
        server::serve(settings.http, otlp::http::router(Arc::clone(&ingest)), shutdown.clone()),
        server::serve(settings.query, query, shutdown.clone()),
    );
    stop_forwarding.cancel();
    if let Some(forwarding) = forwarding {
        forwarding.await.map_err(io::Error::other)?;
    }
    served.map(|_| ())
}

fn query(ingest: &Arc<Ingest>, shutdown: &CancellationToken) -> Router {
    let (for_metrics, for_ready) = (metrics::Metrics::new(Arc::clone(ingest)), shutdown.clone());
    let metrics =
        move || async move { ([(header::CONTENT_TYPE, crate::metrics::CONTENT_TYPE)], for_metrics.render()) };
    let ready = move || async move {
        if for_ready.is_cancelled() {
            (StatusCode::SERVICE_UNAVAILABLE, "stopping\n")
        } else {
            (StatusCode::OK, "ready\n")
        }
    };
    let api = jaeger::router(Arc::clone(ingest)).merge(workbench::router(Arc::clone(ingest)));
    server::logged(api)
        .route("/health/live", get(|| async { "live\n" }))
        .route("/health/ready", get(ready))
        .route("/metrics", get(metrics))
}
