//! The collector: OTLP in; Jaeger's query API, pages for a browser, the hops table and the ledger out.
//!
//! What it has answered with success is in the store, or counted as forgotten, before the answer leaves. So a stop
//! loses nothing that was accepted: the receivers finish what is in flight, then what waits to be passed on is.

mod explained;
mod metrics;
mod opened;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use axum::Router;
use axum::http::{StatusCode, header};
use axum::response::Redirect;
use axum::routing::get;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::base_path::{BasePath, ParseBasePathError};
use crate::forward::Forward;
use crate::ingest::Ingest;
use crate::pages::jaeger_ui::{self, Bundle};
use crate::query::{jaeger, workbench};
use crate::{pages, receive};
use telemetry::server;

use explained::explained;

pub use opened::Opened;

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
    /// What a browser gets.
    pub hosting: Hosting,
}

/// What a browser gets of a collector, and where.
#[derive(Debug, Clone, Default)]
pub struct Hosting {
    /// The folder of a Jaeger UI, to be served in place of the collector's own pages.
    pub jaeger_ui: Option<PathBuf>,
    /// A path such as `/jaeger`, below which a proxy passes on what is meant for the query port.
    pub base_path: Option<String>,
}

impl Hosting {
    fn read(&self) -> Result<(Option<Bundle>, BasePath), Error> {
        let base = self.base_path.as_deref().map(BasePath::parse).transpose()?.unwrap_or_default();
        let ui = self.jaeger_ui.as_deref().map(|folder| Bundle::open(folder, &base)).transpose()?;
        Ok((ui, base))
    }
}

/// Why a collector could not run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The folder is no Jaeger UI.
    #[error(transparent)]
    JaegerUi(#[from] jaeger_ui::Error),
    /// The base path is none.
    #[error(transparent)]
    BasePath(#[from] ParseBasePathError),
    /// A listener broke, or the endpoint to forward to is no `http://host:port`.
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl Error {
    /// Whether other settings would help, as against something that broke.
    pub fn is_usage(&self) -> bool {
        match self {
            Self::JaegerUi(_) | Self::BasePath(_) => true,
            Self::Io(_) => false,
        }
    }
}

/// Collects until `shutdown`, then answers what is in flight and returns. Wrong settings are told before anything is
/// accepted.
pub async fn run(settings: Settings, shutdown: CancellationToken) -> Result<(), Error> {
    let (ui, base) = settings.hosting.read()?;
    let stop_forwarding = CancellationToken::new();
    let (forward, forwarding) = match &settings.forward {
        Some(endpoint) => {
            let (forward, task) = Forward::start(endpoint, stop_forwarding.clone())?;
            (Some(forward), Some(task))
        }
        None => (None, None),
    };
    let ingest = Arc::new(Ingest::new(settings.store_max_bytes, forward));
    let receiver = explained(receive::http::router(Arc::clone(&ingest)));
    let query = query(&ingest, &shutdown, ui, &base);
    let served = tokio::try_join!(
        receive::grpc::serve(settings.grpc, Arc::clone(&ingest), shutdown.clone()),
        server::serve(settings.http, receiver, shutdown.clone()),
        server::serve(settings.query, query, shutdown.clone()),
    );
    stop_forwarding.cancel();
    if let Some(forwarding) = forwarding {
        forwarding.await.map_err(io::Error::other)?;
    }
    served?;
    Ok(())
}

fn query(ingest: &Arc<Ingest>, shutdown: &CancellationToken, ui: Option<Bundle>, base: &BasePath) -> Router {
    let (for_metrics, for_ready) = (metrics::Metrics::new(Arc::clone(ingest)), shutdown.clone());
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
    let api = jaeger::router(Arc::clone(ingest)).merge(workbench::router(Arc::clone(ingest)));
    let browsed = match ui {
        Some(bundle) => bundle.router(),
        None => pages::router(Arc::clone(ingest), base),
    };
    let query = below(base, api, browsed)
        .route("/health/live", get(|| async { "live\n" }))
        .route("/health/ready", get(ready))
        .route("/metrics", get(metrics));
    explained(query)
}

/// What is browsed has one address; the API answers at the root as well, for those who come past the proxy.
fn below(base: &BasePath, api: Router, browsed: Router) -> Router {
    let base = base.as_str();
    if base.is_empty() {
        return server::logged(api.merge(browsed));
    }
    let home = format!("{base}/");
    let to_home = get(move || async move { Redirect::temporary(&home) });
    let whole = server::logged(api.clone().merge(browsed));
    // As a service, for `nest` leaves out the base path with a `/` at its end.
    server::logged(api.route("/", to_home)).nest_service(base, whole)
}
