//! Runs one role: listens, serves, drains, stops.

use axum::Router;
use axum::routing::get;
use telemetry::server::{self, Acceptor};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::app::{self, App, Error, Readiness};
use crate::error::Code;
use crate::role::Role;
use crate::{balancer, booking, cache, frontend, gateway, notification, queue, search};

/// A role and the settings that it reads: the subcommands of `workbench serve`, the collector aside.
#[derive(Debug, Clone, clap::Subcommand)]
pub enum Settings {
    /// Serve the page that a browser loads
    Frontend(frontend::Settings),
    /// Forward public requests to the gateways in turn
    Balancer(balancer::Settings),
    /// Check log-ins and tokens, search through the cache, book
    Gateway(gateway::Settings),
    /// Keep values for a limited time
    Cache(cache::Settings),
    /// Find the tutors of a subject
    Search(search::Settings),
    /// Store bookings and look up students and users
    Booking(booking::Settings),
    /// Lease tasks to consumers
    Queue(queue::Settings),
    /// Send the notifications of bookings
    Notification(notification::Settings),
}

impl Settings {
    /// Returns the role that the settings belong to.
    pub fn role(&self) -> Role {
        match self {
            Self::Frontend(_) => Role::Frontend,
            Self::Balancer(_) => Role::Balancer,
            Self::Gateway(_) => Role::Gateway,
            Self::Cache(_) => Role::Cache,
            Self::Search(_) => Role::Search,
            Self::Booking(_) => Role::Booking,
            Self::Queue(_) => Role::Queue,
            Self::Notification(_) => Role::Notification,
        }
    }

    /// Returns the settings that every role reads.
    pub fn process(&self) -> &app::Settings {
        match self {
            Self::Frontend(settings) => &settings.process,
            Self::Balancer(settings) => &settings.process,
            Self::Gateway(settings) => &settings.process,
            Self::Cache(settings) => &settings.process,
            Self::Search(settings) => &settings.process,
            Self::Booking(settings) => &settings.process,
            Self::Queue(settings) => &settings.process,
            Self::Notification(settings) => &settings.process,
        }
    }

    async fn app(&self, shutdown: CancellationToken) -> Result<App, Error> {
        match self {
            Self::Frontend(settings) => frontend::app(settings, shutdown).await,
            Self::Balancer(settings) => balancer::app(settings, shutdown).await,
            Self::Gateway(settings) => gateway::app(settings, shutdown).await,
            Self::Cache(settings) => cache::app(settings, shutdown).await,
            Self::Search(settings) => search::app(settings, shutdown).await,
            Self::Booking(settings) => booking::app(settings, shutdown).await,
            Self::Queue(settings) => queue::app(settings, shutdown).await,
            Self::Notification(settings) => notification::app(settings, shutdown).await,
        }
    }
}

/// Binds `address`, which `variable` sets.
///
/// # Errors
///
/// [`Error::Listen`] if the address is not available.
pub async fn listen(variable: &'static str, address: &str) -> Result<TcpListener, Error> {
    let listener = TcpListener::bind(address).await;
    listener.map_err(|source| Error::Listen { variable, address: address.to_owned(), source })
}

/// Runs the role of `settings` on `listener` until `shutdown` fires.
///
/// On shutdown `GET /health/ready` answers 503 and the role continues to serve for `DRAIN_MS`, so that a balancer stops
/// sending requests to it. Then it stops accepting connections and finishes the requests in flight and its background work.
///
/// # Errors
///
/// Fails if a setting is wrong, if the role cannot start or if the listener fails.
pub async fn run(
    settings: Settings,
    listener: TcpListener,
    shutdown: CancellationToken,
) -> Result<(), Error> {
    let App { routes, ready, finish } = settings.app(shutdown.clone()).await?;
    let router = with_operations(routes, ready, shutdown.clone());
    let stop_accepting = CancellationToken::new();
    let (drain, stop) = (settings.process().drain, stop_accepting.clone());
    let max_connections = usize::try_from(settings.process().max_connections).unwrap_or(usize::MAX);
    tokio::spawn(async move {
        shutdown.cancelled().await;
        tracing::info!("draining");
        tokio::time::sleep(drain).await;
        stop.cancel();
    });
    tracing::info!(address = %listener.local_addr()?, "listening");
    server::serve(Acceptor::new(listener, max_connections), router, stop_accepting).await?;
    finish.await;
    tracing::info!("stopped");
    Ok(())
}

/// Adds health and metrics to a role's routes, outside the routes' middleware: probes are neither traced nor logged.
fn with_operations(routes: Router, ready: Readiness, shutdown: CancellationToken) -> Router {
    let readiness = get(move || async move {
        if shutdown.is_cancelled() || !ready().await {
            Err(Code::Unavailable.status())
        } else {
            Ok("ready\n")
        }
    });
    routes.merge(server::operations()).route("/health/ready", readiness)
}

#[cfg(test)]
mod tests;
