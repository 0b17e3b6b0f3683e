//! The roles: their names, their ports, and how one is run.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use axum::Router;
use axum::routing::get;
use futures::FutureExt as _;
use telemetry::server;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::config::{Config, ConfigError};
use crate::error::Code;
use crate::{balancer, booking, cache, fallback, gateway, notification, queue, search};

/// One role of the system; `workbench serve ROLE` runs it in a process of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, clap::ValueEnum)]
pub enum Service {
    /// The pages that a browser loads.
    Frontend,
    /// The public entry: round robin over the gateways.
    Balancer,
    /// Log-in, token check, cached search, booking.
    Gateway,
    /// Values with a time to live.
    Cache,
    /// Tutors by subject.
    Search,
    /// Bookings, students and users.
    Booking,
    /// Tasks with leases.
    Queue,
    /// Sends what the tasks ask for.
    Notification,
    /// Takes spans, keeps traces.
    Collector,
}

/// Why a role could not run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The environment lacks something.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The database is not there, or its schema could not be brought up to date.
    #[error("the database is not usable")]
    Database(#[from] sqlx::Error),
    /// The schema could not be brought up to date.
    #[error("the database's schema could not be migrated")]
    Migrate(#[from] sqlx::migrate::MigrateError),
    /// An address cannot be listened on: another process may have it.
    #[error("cannot listen on {variable}={address}")]
    Listen {
        /// Which setting names it.
        variable: &'static str,
        /// The address.
        address: String,
        /// Why.
        source: io::Error,
    },
    /// A socket failed.
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl Error {
    /// Whether another set-up would help, as against something that broke.
    pub fn is_usage(&self) -> bool {
        match self {
            Self::Config(_) | Self::Listen { .. } => true,
            // It answered: another password, user or database is needed.
            Self::Database(error) => error.as_database_error().is_some(),
            Self::Migrate(_) | Self::Io(_) => false,
        }
    }
}

impl Service {
    /// `service.name`, which is also the service's name in compose (but for the two gateways).
    pub fn name(self) -> &'static str {
        match self {
            Self::Frontend => "frontend",
            Self::Balancer => "load_balancer",
            Self::Gateway => "api_gateway",
            Self::Cache => "cache",
            Self::Search => "search_service",
            Self::Booking => "booking_service",
            Self::Queue => "queue",
            Self::Notification => "notification_service",
            Self::Collector => "collector",
        }
    }

    /// The port it listens on unless told otherwise.
    pub fn port(self) -> u16 {
        match self {
            Self::Frontend => 8080,
            Self::Balancer => 8000,
            Self::Gateway => 8001,
            Self::Cache => 8010,
            Self::Search => 8011,
            Self::Booking => 8012,
            Self::Queue => 8013,
            Self::Notification => 8014,
            Self::Collector => 16686,
        }
    }
}

/// A role's routes, its readiness, and what it does besides serving.
pub(crate) struct Role {
    /// Its routes, already [`server::traced`] or [`server::logged`].
    pub(crate) routes: Router,
    /// Whether what the role itself needs is there.
    pub(crate) ready: Readiness,
}

/// Asked at each `GET /health/ready`.
pub(crate) type Readiness = Arc<dyn Fn() -> futures::future::BoxFuture<'static, bool> + Send + Sync>;

/// A role that is ready once it serves.
pub(crate) fn always_ready() -> Readiness {
    Arc::new(|| Box::pin(std::future::ready(true)))
}

/// Runs `service` on `listener` until `shutdown` fires.
///
/// On shutdown readiness turns 503 first and the role goes on serving for [`Config::drain`], so that a balancer can
/// look elsewhere; then it stops accepting and finishes what is in flight.
pub async fn run(
    service: Service,
    listener: TcpListener,
    config: Config,
    shutdown: CancellationToken,
) -> Result<(), Error> {
    let background = CancellationToken::new();
    // What has to end before the process does.
    let mut work = std::future::ready(()).boxed();
    let role = match service {
        Service::Frontend => frontend_role(&config),
        Service::Balancer => balancer::role(&config, background.clone())?,
        Service::Gateway => gateway::role(&config)?,
        Service::Cache => cache::role(&config),
        Service::Search => search::role(&config).await?,
        Service::Booking => {
            let (role, finish) = booking::role(&config).await?;
            work = finish;
            role
        }
        Service::Queue => queue::role(&config, background.clone()),
        Service::Notification => {
            let (role, worker) = notification::role(&config, background.clone()).await?;
            work = worker;
            role
        }
        Service::Collector => unreachable!("the collector is a crate of its own"),
    };
    let draining = Arc::new(AtomicBool::new(false));
    let router = router(role, Arc::clone(&draining));
    let stop_accepting = CancellationToken::new();
    let (drain, stop) = (config.drain, stop_accepting.clone());
    tokio::spawn(async move {
        shutdown.cancelled().await;
        tracing::info!("draining");
        draining.store(true, Relaxed);
        background.cancel();
        tokio::time::sleep(drain).await;
        stop.cancel();
    });
    tracing::info!(address = %listener.local_addr()?, "listening");
    server::serve(listener, router, stop_accepting).await?;
    // It bounds itself.
    work.await;
    tracing::info!("stopped");
    Ok(())
}

fn router(role: Role, draining: Arc<AtomicBool>) -> Router {
    let ready = role.ready;
    let readiness = get(move || async move {
        if draining.load(Relaxed) || !ready().await { Err(Code::Unavailable.status()) } else { Ok("ready\n") }
    });
    role.routes.merge(server::operations()).route("/health/ready", readiness)
}

fn frontend_role(config: &Config) -> Role {
    let routes = fallback::bounded(frontend::app_router(config.api_port), config.request_timeout);
    Role { routes: server::traced(routes), ready: always_ready() }
}

/// Listens on the address that the variable names.
pub async fn listen(variable: &'static str, address: &str) -> Result<TcpListener, Error> {
    let listener = TcpListener::bind(address).await;
    listener.map_err(|source| Error::Listen { variable, address: address.to_owned(), source })
}
