//! Notification: leases tasks from the queue and notifies student and tutor of their booking. No role calls it.
//!
//! A notification is recorded once for each booking, even if its task is delivered several times, and a task is acknowledged
//! only after that. A task that fails is returned with the reason; the queue redelivers it later and, after too many attempts,
//! keeps it as a dead letter. If the queue or the database is down, the worker retries. On shutdown it finishes the tasks in
//! flight and returns those that take too long.

mod queue_client;
mod delivery;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use clap::Args;
use futures::FutureExt as _;
use opentelemetry::KeyValue;
use opentelemetry::trace::{FutureExt as _, SpanKind, Status, TraceContextExt as _, Tracer as _};
use sqlx::PgPool;
use telemetry::propagation;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::api::LeasedTask;
use crate::app::{self, App, Error};
use crate::database;
use crate::peer::{BaseUrls, Peer};
use crate::role::Role;
use crate::settings::{self, LeaseLength, milliseconds};
use delivery::Failure;
use queue_client::{LONG_POLL, QueueClient};

/// Pause after a failed call to the queue; doubled with each further failure, up to the maximum.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const MAX_PAUSE: Duration = Duration::from_secs(2);

/// Maximum time on shutdown for the tasks in flight to finish, and then for returning the others.
const GRACE: Duration = Duration::from_secs(4);
const RETURN_GRACE: Duration = Duration::from_secs(1);

/// Reason of the tasks that a stopping worker returns.
const STOPPED: &str = "the worker stopped";

/// Settings of the notification service.
#[derive(Debug, Clone, Args)]
#[group(skip)]
#[command(mut_args(app::Settings::defaults(Role::Notification)))]
pub struct Settings {
    /// Base URLs of the queue, separated by commas; a name may have several addresses
    #[arg(long, env = "QUEUE_URL", value_name = "URLS", default_value = Role::Queue.url())]
    queue_url: BaseUrls,
    /// Simulated time to send a notification, in milliseconds (0 to 20000, less than NOTIFICATION_LEASE_MS)
    #[arg(
        id = "notification_delay_ms", long = "notification-delay-ms", env = "NOTIFICATION_DELAY_MS",
        value_name = "MS", default_value = "20", value_parser = milliseconds(0..=20_000)
    )]
    notification_delay: Duration,
    /// Maximum number of notifications that are sent concurrently (1 to 1000)
    #[arg(
        long, env = "NOTIFICATION_CONCURRENCY", value_name = "N", default_value_t = 16,
        value_parser = clap::value_parser!(u32).range(1..=1000)
    )]
    notification_concurrency: u32,
    /// Leases.
    #[command(flatten)]
    lease: LeaseLength,
    /// Database.
    #[command(flatten)]
    database: database::Settings,
    /// Process.
    #[command(flatten)]
    pub(crate) process: app::Settings,
}

impl Settings {
    /// Checks that a notification is sent within its lease.
    fn check(&self) -> Result<(), settings::Error> {
        let lease = self.lease.duration();
        if self.notification_delay < lease {
            return Ok(());
        }
        let reason = format!(
            "must be less than NOTIFICATION_LEASE_MS={}, or each notification would be sent twice",
            lease.as_millis()
        );
        Err(settings::Error::Invalid { name: "NOTIFICATION_DELAY_MS", reason })
    }
}

struct Worker {
    queue: QueueClient,
    pool: PgPool,
    /// Instance of the process, for the rows that it writes.
    name: String,
    delay: Duration,
    /// Length of a lease.
    lease: Duration,
    /// One permit for each task in flight.
    permits: Arc<Semaphore>,
    concurrency: u32,
    grace: Duration,
    /// Fires when the grace period of the tasks in flight is over.
    grace_is_over: CancellationToken,
}

/// Builds the notification service. It is ready while the database answers, and finishes when its worker has stopped.
pub(crate) async fn app(settings: &Settings, shutdown: CancellationToken) -> Result<App, Error> {
    settings.check()?;
    let pool = settings.database.connect(settings.process.request_timeout).await?;
    let ready = database::readiness(&pool);
    let work = tokio::spawn(work(Arc::new(Worker::new(settings, pool)), shutdown));
    // A worker that panicked has nothing left to finish.
    Ok(App { routes: Router::new(), ready, finish: work.map(drop).boxed() })
}

impl Worker {
    fn new(settings: &Settings, pool: PgPool) -> Self {
        let concurrency = settings.notification_concurrency;
        let queue = Peer::new(&settings.queue_url, settings.process.request_timeout);
        Self {
            queue: QueueClient::new(queue, settings.lease.duration()),
            pool,
            name: settings.process.service_instance_id.clone(),
            delay: settings.notification_delay,
            lease: settings.lease.duration(),
            permits: Arc::new(Semaphore::new(concurrency as usize)),
            concurrency,
            grace: GRACE,
            grace_is_over: CancellationToken::new(),
        }
    }

    /// Waits for one permit and takes all others that are available.
    async fn acquire_permits(&self) -> Vec<OwnedSemaphorePermit> {
        let first = Arc::clone(&self.permits).acquire_owned().await.ok();
        let others = std::iter::from_fn(|| Arc::clone(&self.permits).try_acquire_owned().ok());
        first.into_iter().chain(others).collect()
    }

    /// Waits until no task is in flight.
    async fn idle(&self) {
        let _all = self.permits.acquire_many(self.concurrency).await;
    }
}

/// Leases and handles tasks until `shutdown`, then waits for the tasks in flight. Leases at most one task for each permit, so
/// that no task waits for a permit while its lease runs.
async fn work(worker: Arc<Worker>, shutdown: CancellationToken) {
    let mut pause = FIRST_PAUSE;
    while !shutdown.is_cancelled() {
        let permits = tokio::select! {
            permits = worker.acquire_permits() => permits,
            () = shutdown.cancelled() => break,
        };
        // On shutdown a running poll is awaited: it may already have leased tasks.
        let leased = tokio::select! {
            leased = worker.queue.lease(permits.len()) => leased,
            () = async { shutdown.cancelled().await; sleep(LONG_POLL).await } => break,
        };
        match leased {
            Ok(tasks) => {
                pause = FIRST_PAUSE;
                for (task, permit) in tasks.into_iter().zip(permits) {
                    let worker = Arc::clone(&worker);
                    if shutdown.is_cancelled() {
                        tokio::spawn(return_task(worker, task, permit));
                    } else {
                        tokio::spawn(handle(worker, task, permit));
                    }
                }
            }
            // The failed call has logged its error.
            Err(_) => {
                let _stopped = timeout(pause, shutdown.cancelled()).await;
                pause = (2 * pause).min(MAX_PAUSE);
            }
        }
    }
    if timeout(worker.grace, worker.idle()).await.is_err() {
        tracing::warn!("returning tasks that did not finish in time");
        worker.grace_is_over.cancel();
        let _returned = timeout(RETURN_GRACE, worker.idle()).await;
    }
}

/// Returns a task that was leased during shutdown, for immediate redelivery.
async fn return_task(worker: Arc<Worker>, task: LeasedTask, permit: OwnedSemaphorePermit) {
    let sender = propagation::extract_map(&task.otel);
    // If the call fails, the task is redelivered when its lease expires.
    let _result = worker.queue.nack(&task, Some(Duration::ZERO), STOPPED.into()).with_context(sender).await;
    drop(permit);
}

/// Processes and settles one task in a CONSUMER span, a child of the sender's span. Without a link to the sender beside it:
/// Jaeger's JSON would show the link, and hide the parent.
async fn handle(worker: Arc<Worker>, task: LeasedTask, permit: OwnedSemaphorePermit) {
    let sender = propagation::extract_map(&task.otel);
    let tracer = telemetry::tracer();
    let builder =
        tracer.span_builder("process notifications").with_kind(SpanKind::Consumer).with_attributes([
            KeyValue::new("messaging.system", "workbench"),
            KeyValue::new("messaging.operation.name", "process"),
            KeyValue::new("messaging.operation.type", "process"),
            KeyValue::new("messaging.destination.name", "notifications"),
            KeyValue::new("messaging.message.id", task.id.clone()),
        ]);
    let cx = sender.with_span(tracer.build_with_context(builder, &sender));
    async {
        let processed = tokio::select! {
            processed = process(&worker, &task) => Some(processed),
            () = worker.grace_is_over.cancelled() => None,
        };
        if !matches!(processed, Some(Ok(()))) {
            cx.span().set_status(Status::error("not processed"));
        }
        let settled = match processed {
            Some(Ok(())) => worker.queue.ack(&task).await,
            Some(Err(failure)) => {
                let (task_id, attempts, reason) = (&task.id, task.attempts, failure.reason());
                tracing::warn!(task_id, attempts, reason, "task not processed");
                worker.queue.nack(&task, None, reason).await
            }
            None => worker.queue.nack(&task, Some(Duration::ZERO), STOPPED.into()).await,
        };
        if settled.is_err() {
            // The lease expires and the task is redelivered; recording is idempotent.
            tracing::warn!(task_id = task.id, "cannot settle a task: it will be redelivered");
        }
    }
    .with_context(cx.clone())
    .await;
    cx.span().end();
    drop(permit);
}

/// Processes a task within its lease: the database may never answer, and the permit would be lost.
async fn process(worker: &Worker, task: &LeasedTask) -> Result<(), Failure> {
    let processed = delivery::process(&worker.pool, &worker.name, worker.delay, task);
    timeout(worker.lease, processed).await.unwrap_or(Err(Failure::Late))
}

#[cfg(test)]
mod tests;
