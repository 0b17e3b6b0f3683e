//! `App`, which every role passes to [`crate::serve`]; the settings that all roles share; the errors that end a role.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use clap::builder::BoolishValueParser;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use telemetry::arguments::address;

use crate::role::Role;
use crate::settings::{self, milliseconds};

/// Range of `REQUEST_TIMEOUT_MS`. The minimum exceeds a consumer's long poll at the queue (2 s), so that the poll is
/// answered before the call times out.
const REQUEST_TIMEOUT_MS: std::ops::RangeInclusive<u64> = 3_000..=600_000;

/// Range of `DRAIN_MS`.
const DRAIN_MS: std::ops::RangeInclusive<u64> = 0..=600_000;

/// Range of `MAX_CONNECTIONS`.
const CONNECTIONS: std::ops::RangeInclusive<u64> = 1..=1_000_000;

/// Settings that every role reads.
#[derive(Debug, Clone, clap::Args)]
#[group(skip)]
#[command(next_help_heading = "Process")]
pub struct Settings {
    /// Address to listen on
    #[arg(long, env = "LISTEN", value_name = "HOST:PORT", value_parser = address)]
    pub listen: String,
    /// `service.instance.id` of the role's spans and log lines [default: host name and process id]
    #[arg(long, env = "SERVICE_INSTANCE_ID", value_name = "NAME")]
    pub service_instance_id: String,
    /// Maximum time of one request, in milliseconds (3000 to 600000)
    #[arg(
        id = "request_timeout_ms", long = "request-timeout-ms", env = "REQUEST_TIMEOUT_MS", value_name = "MS",
        default_value = "10000", value_parser = milliseconds(REQUEST_TIMEOUT_MS)
    )]
    pub(crate) request_timeout: Duration,
    /// Time between refusing readiness and closing the listener on shutdown, in milliseconds (0 to 600000)
    #[arg(
        id = "drain_ms", long = "drain-ms", env = "DRAIN_MS", value_name = "MS",
        default_value = "1000", value_parser = milliseconds(DRAIN_MS)
    )]
    pub(crate) drain: Duration,
    /// Maximum number of open connections (1 to 1000000, and at most half of the file descriptors); others wait
    #[arg(
        long, env = "MAX_CONNECTIONS", value_name = "N", default_value_t = telemetry::server::MAX_CONNECTIONS as u64,
        value_parser = clap::value_parser!(u64).range(CONNECTIONS)
    )]
    pub(crate) max_connections: u64,
    /// Stop when standard input closes, so that a parent process that is killed leaves no child behind
    #[arg(long, env = "STOP_WITH_STDIN", value_parser = BoolishValueParser::new())]
    pub stop_with_stdin: bool,
    /// Telemetry.
    #[command(flatten)]
    pub telemetry: telemetry::Settings,
}

impl Settings {
    /// Returns a function that sets the default values of the arguments above for `role`.
    pub(crate) fn defaults(role: Role) -> impl FnMut(clap::Arg) -> clap::Arg {
        move |arg| match arg.get_id().as_str() {
            "listen" => arg.default_value(role.address()).required(false),
            "service_instance_id" => {
                arg.default_value(instance_id()).hide_default_value(true).required(false)
            }
            _ => arg,
        }
    }
}

/// Returns the name of this process among all processes of its role, on one machine or on many.
fn instance_id() -> String {
    let host = nix::unistd::gethostname().ok().and_then(|host| host.into_string().ok());
    format!("{}-{}", host.as_deref().unwrap_or("localhost"), std::process::id())
}

/// A role, ready to be served.
pub(crate) struct App {
    /// The role's routes with their middleware (see [`crate::middleware`]).
    pub(crate) routes: Router,
    /// Whether the role's own dependencies are available.
    pub(crate) ready: Readiness,
    /// Work to finish after the last request and before the process ends. Limits its own duration.
    pub(crate) finish: BoxFuture<'static, ()>,
}

/// Evaluated at each `GET /health/ready`.
pub(crate) type Readiness = Arc<dyn Fn() -> BoxFuture<'static, bool> + Send + Sync>;

impl App {
    /// Returns a role that is ready as soon as it serves and has nothing to finish.
    pub(crate) fn new(routes: Router) -> Self {
        Self { routes, ready: always_ready(), finish: std::future::ready(()).boxed() }
    }
}

/// Returns the readiness check of a role without dependencies.
pub(crate) fn always_ready() -> Readiness {
    Arc::new(|| std::future::ready(true).boxed())
}

/// An error that prevents a role from running.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A setting is missing or invalid.
    #[error(transparent)]
    Settings(#[from] settings::Error),
    /// The database is not available or refused the connection.
    #[error("cannot use the database")]
    Database(#[from] sqlx::Error),
    /// The schema could not be brought up to date.
    #[error("cannot migrate the schema of the database")]
    Migrate(#[from] sqlx::migrate::MigrateError),
    /// The listen address is not available.
    #[error("cannot listen on {variable}={address}")]
    Listen {
        /// The variable that sets the address.
        variable: &'static str,
        /// The address.
        address: String,
        /// The cause.
        source: io::Error,
    },
    /// A socket failed.
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl Error {
    /// Returns whether the cause is a setting, so that the process ends with exit status 2.
    pub fn is_usage(&self) -> bool {
        match self {
            Self::Settings(_) | Self::Listen { .. } => true,
            // PostgreSQL answered and refused: the user, the password or the database name is wrong.
            Self::Database(error) => error.as_database_error().is_some(),
            Self::Migrate(_) | Self::Io(_) => false,
        }
    }
}

/// Parses `arguments` into the settings of one role, without reading the environment.
#[cfg(test)]
pub(crate) fn parse<S: clap::Args>(arguments: &[&str]) -> Result<S, clap::Error> {
    let command = S::augment_args(clap::Command::new("role").no_binary_name(true));
    let command = command.mut_args(|arg| arg.env(clap::builder::Resettable::Reset));
    S::from_arg_matches(&command.try_get_matches_from(arguments)?)
}
