//! Queue: booking enqueues tasks, notification leases them.
//!
//! Tasks are leased in the order of arrival. A task that is neither acknowledged nor returned before its lease expires is
//! redelivered after a delay that doubles with each attempt. A task whose attempts are used up becomes a dead letter, until it
//! is redriven. While the queue holds a task of an event, it adds no other task of that event. A full queue answers 503
//! `queue_full`; dead letters count.
//!
//! [`storage::Storage`] is what the routes call. [`memory`] is the default, and a restart empties it; with [`nats`], tasks survive
//! every restart, and several processes serve one queue. While NATS does not answer, the queue answers 503 `unavailable`.

mod limits;
mod task;
mod storage;
mod policy;
mod memory;
mod nats;
mod metrics;
mod routes;

use std::str::FromStr;
use std::time::Duration;

use async_nats::ServerAddr;
use clap::Args;
use telemetry::arguments::{bytes, within};
use tokio_util::sync::CancellationToken;

use crate::app::{self, App, Error, Readiness};
use crate::middleware;
use crate::role::Role;
use limits::Limits;
use memory::MemoryQueue;
use metrics::QueueMetrics;
use nats::NatsQueue;
use storage::Storage;

/// Delay after the first failed attempt of a task: its cause is unlikely to go away at once.
const FIRST_BACKOFF: Duration = Duration::from_secs(1);

/// Maximum of `QUEUE_CAPACITY`.
const MAX_CAPACITY: usize = 100_000_000;

/// Settings of the queue.
#[derive(Debug, Clone, Args)]
#[group(skip)]
#[command(mut_args(app::Settings::defaults(Role::Queue)))]
pub struct Settings {
    /// Maximum number of tasks, leased and dead ones included (at least 1)
    #[arg(long, env = "QUEUE_CAPACITY", value_name = "TASKS", default_value_t = 100_000, value_parser = within(1..=MAX_CAPACITY))]
    queue_capacity: usize,
    /// Maximum size of all tasks, in bytes (at least 65536)
    #[arg(long, env = "QUEUE_MAX_BYTES", value_name = "BYTES", default_value_t = 64 << 20, value_parser = bytes::<usize>)]
    queue_max_bytes: usize,
    /// Number of leases of a task after which it becomes a dead letter (1 to 1000)
    #[arg(
        long, env = "QUEUE_MAX_ATTEMPTS", value_name = "N", default_value_t = 5,
        value_parser = clap::value_parser!(u32).range(1..=1000)
    )]
    queue_max_attempts: u32,
    /// Where the tasks are: `memory`, or nats://HOST:PORT for a NATS server with JetStream
    #[arg(
        long,
        env = "QUEUE_BACKEND",
        value_name = "BACKEND",
        default_value = "memory",
        hide_env_values = true
    )]
    queue_backend: Backend,
    /// Process.
    #[command(flatten)]
    pub(crate) process: app::Settings,
}

impl Settings {
    fn limits(&self) -> Limits {
        Limits {
            tasks: self.queue_capacity,
            bytes: self.queue_max_bytes,
            attempts: self.queue_max_attempts,
            first_backoff: FIRST_BACKOFF,
        }
    }
}

/// The storage of the tasks.
#[derive(Clone)]
enum Backend {
    Memory,
    Nats(ServerAddr),
}

/// Omits the password that the address of a server may contain.
impl std::fmt::Debug for Backend {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Memory => f.write_str("memory"),
            Self::Nats(server) => write!(f, "nats://{}:{}", server.host(), server.port()),
        }
    }
}

impl FromStr for Backend {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "memory" {
            return Ok(Self::Memory);
        }
        let server = text.starts_with("nats://").then(|| text.parse().ok()).flatten();
        let server = server.filter(|server: &ServerAddr| !server.host().is_empty() && server.port() != 0);
        server.map(Self::Nats).ok_or("must be `memory` or the address of a NATS server, nats://HOST:PORT")
    }
}

/// Builds the queue. With NATS, it is ready while NATS answers.
pub(crate) async fn app(settings: &Settings, shutdown: CancellationToken) -> Result<App, Error> {
    let limits = settings.limits();
    match &settings.queue_backend {
        Backend::Memory => Ok(serve(MemoryQueue::open(limits, shutdown), app::always_ready(), settings)),
        Backend::Nats(server) => {
            let queue = NatsQueue::open(server.clone(), limits, shutdown).await;
            let queue = queue.map_err(|error| Error::Io(std::io::Error::other(error)))?;
            let ready = queue.readiness();
            Ok(serve(queue, ready, settings))
        }
    }
}

fn serve<S: Storage>(queue: S, ready: Readiness, settings: &Settings) -> App {
    let limit = settings.process.request_timeout;
    telemetry::metrics::register(|registry| {
        registry.register_collector(Box::new(QueueMetrics(queue.clone())))
    });
    let requests = middleware::requests(routes::requests(queue.clone()), limit);
    // A long poll may last longer than a request.
    let polls = middleware::polls(routes::polls(queue), limit, routes::MAX_WAIT);
    App { ready, ..App::new(requests.merge(polls)) }
}

#[cfg(test)]
mod tests;
