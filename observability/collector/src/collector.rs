//! Runs a collector: connects the receivers, the query APIs and the pages to their listeners, and stops them.
//!
//! The spans of an accepted message are in the store, or counted as evicted, before the response is sent. A stop therefore
//! loses no accepted span: the receivers finish the requests in flight, and then the forward queue is flushed.

mod compression;
mod error_bodies;
mod log;
mod metrics;
mod settings;
mod listeners;
mod snapshot;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::http::{StatusCode, header};
use axum::response::{Redirect, Response};
use axum::routing::get;
use futures::FutureExt as _;
use tokio_util::sync::CancellationToken;
use tower::util::MapResponseLayer;
use tower_http::timeout::TimeoutLayer;

use crate::base_path::BasePath;
use crate::forward::Forward;
use crate::ingest::Ingest;
use crate::pages::jaeger_ui::{self, JaegerUi};
use crate::query::jaeger::Adjuster;
use crate::query::{jaeger, workbench};
use crate::receive::Receiver;
use crate::{pages, receive};
use telemetry::server::{self, Acceptor};

use compression::compressed;
use error_bodies::with_error_bodies;

pub use listeners::Listeners;
pub use settings::{RenamedVariables, Settings};
pub use snapshot::Snapshot;

/// Maximum time to receive a query, its body included, and to begin the reply.
const QUERY_TIMEOUT: Duration = Duration::from_secs(30);

/// An error that prevents a collector from running.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// An address is not free, or not one of this machine.
    #[error("cannot listen on {variable}={address}")]
    Listen {
        /// The variable of the address.
        variable: &'static str,
        /// The address.
        address: String,
        /// The cause.
        source: io::Error,
    },
    /// The folder is not a Jaeger UI.
    #[error(transparent)]
    JaegerUi(#[from] jaeger_ui::Error),
    /// A listener failed, or the endpoint to forward to is not of the form `http://host:port`.
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl Error {
    /// Returns whether a setting caused the error, so that the process ends with exit status 2.
    pub fn is_usage(&self) -> bool {
        match self {
            Self::Listen { .. } | Self::JaegerUi(_) => true,
            Self::Io(_) => false,
        }
    }
}

/// Runs a collector on `listeners` until `shutdown`, answers the requests in flight and returns.
///
/// The addresses in `settings` are ignored, because the caller has bound the listeners. Invalid settings are reported
/// before the first connection is accepted.
pub async fn run(
    listeners: Listeners,
    settings: &Settings,
    shutdown: CancellationToken,
) -> Result<(), Error> {
    let ui = open_jaeger_ui(settings)?;
    let stop_forwarding = CancellationToken::new();
    let (forward, forwarding) = match &settings.otlp_forward_endpoint {
        Some(endpoint) => {
            let (forward, task) = Forward::start(endpoint, stop_forwarding.clone())?;
            (Some(forward), Some(task))
        }
        None => (None, None),
    };
    let ingest = Arc::new(Ingest::new(settings.store_max_bytes, forward));
    let receiver = Arc::new(Receiver::new(Arc::clone(&ingest), settings.store_max_bytes));
    let query = query(&ingest, &receiver, ui, settings, &shutdown);
    log::start(&listeners, settings, &receiver)?;
    let limited = |listener| Acceptor::new(listener, connection_limit(settings));
    let (over_grpc, over_http) = (
        receive::grpc::router(Arc::clone(&receiver)),
        receive::http::router(Arc::clone(&receiver), &settings.cors_origins),
    );
    let traces = receive::grpc::services(Arc::clone(&receiver));
    let adjuster = Adjuster::new(settings.max_clock_skew_adjust);
    let query_grpc = jaeger::grpc::router(&ingest, adjuster, traces, shutdown.clone()).await;
    let over_http2 = |listener, router, streams| {
        server::serve_http2(limited(listener), router, streams, shutdown.clone()).map(Ok)
    };
    let served = tokio::try_join!(
        over_http2(listeners.grpc, over_grpc, receive::grpc::STREAMS_PER_CONNECTION),
        over_http2(listeners.query_grpc, query_grpc, jaeger::grpc::STREAMS_PER_CONNECTION),
        server::serve(limited(listeners.http), over_http, shutdown.clone()),
        server::serve(limited(listeners.query), query, shutdown.clone()),
    );
    stop_forwarding.cancel();
    if let Some(forwarding) = forwarding {
        forwarding.await.map_err(io::Error::other)?;
    }
    log::stop(&ingest, &receiver);
    served?;
    Ok(())
}

/// Returns the maximum number of connections to each port: a quarter of the file descriptors at most, so that a flood of
/// connections to one port leaves the others reachable.
fn connection_limit(settings: &Settings) -> usize {
    let quarter = usize::try_from(server::descriptor_limit() / 4).unwrap_or(usize::MAX);
    // A few descriptors are in use for other purposes.
    settings.max_connections.min(quarter.saturating_sub(8)).max(1)
}

fn open_jaeger_ui(settings: &Settings) -> Result<Option<JaegerUi>, jaeger_ui::Error> {
    let folder = settings.jaeger_ui.as_deref();
    folder.map(|folder| JaegerUi::open(folder, &settings.base_path)).transpose()
}

/// Returns the routes of the query port. A Jaeger UI replaces the built-in pages.
fn query(
    ingest: &Arc<Ingest>,
    receiver: &Arc<Receiver>,
    ui: Option<JaegerUi>,
    settings: &Settings,
    shutdown: &CancellationToken,
) -> Router {
    let (for_metrics, for_ready) =
        (metrics::Metrics::new(Arc::clone(ingest), Arc::clone(receiver)), shutdown.clone());
    let metrics = move || async move {
        ([(header::CONTENT_TYPE, telemetry::metrics::CONTENT_TYPE)], for_metrics.render())
    };
    let ready = move || async move {
        if for_ready.is_cancelled() {
            (StatusCode::SERVICE_UNAVAILABLE, "stopping\n")
        } else {
            (StatusCode::OK, "ready\n")
        }
    };
    let (base, adjuster) = (&settings.base_path, Adjuster::new(settings.max_clock_skew_adjust));
    let api = jaeger::router(Arc::clone(ingest), adjuster)
        .merge(workbench::router(Arc::clone(ingest)))
        .merge(pages::api_router(Arc::clone(ingest)));
    let pages = match ui {
        Some(ui) => ui.router(),
        None => pages::router(Arc::clone(ingest), base),
    };
    let for_busy = Arc::clone(receiver);
    let count_busy = MapResponseLayer::new(move |response: Response| {
        if response.status() == StatusCode::SERVICE_UNAVAILABLE {
            for_busy.record_busy_query();
        }
        response
    });
    let query = mount(base, api, pages)
        .layer(TimeoutLayer::with_status_code(StatusCode::REQUEST_TIMEOUT, QUERY_TIMEOUT))
        .layer(count_busy)
        .route("/health/live", get(|| async { "live\n" }))
        .route("/health/ready", get(ready))
        .route("/metrics", get(metrics));
    compressed(with_error_bodies(query))
}

/// Mounts the pages below the base path, and the API both there and at the root, for clients that bypass the proxy.
fn mount(base: &BasePath, api: Router, pages: Router) -> Router {
    let base = base.as_str();
    if base.is_empty() {
        return server::measured(api.merge(pages));
    }
    let base_url = format!("{base}/");
    let to_base = get(move || async move { Redirect::temporary(&base_url) });
    let below_base = server::measured(api.clone().merge(pages));
    // `nest` would not match the base path with a `/` at its end.
    server::measured(api.route("/", to_base)).nest_service(base, below_base)
}

#[cfg(test)]
mod tests;
