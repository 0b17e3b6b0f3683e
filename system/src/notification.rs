//! Notification: leases tasks from the queue and tells student and tutor of their booking.
//!
//! Promises that a notification is recorded once for each booking, however often its task arrives, and that a task is
//! acknowledged only when that is done. It is called by nobody; when the queue or the database is gone it waits. On
//! shutdown it finishes what it holds, and gives back what takes too long.

mod delivery;
mod tasks;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use opentelemetry::trace::{FutureExt as _, Link, SpanKind, Status, TraceContextExt as _, Tracer as _};
use opentelemetry::{Context, KeyValue};
use sqlx::PgPool;
use telemetry::propagation;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::database;
use crate::service::{Error, Role};
use tasks::{LONG_POLL, Leased, Tasks};

/// Pause before the queue is asked again after a failure; doubled with each failure in a row, up to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// A task that failed is not tried again at once: what it failed for is likely to be there still.
const RETRY_DELAY: Duration = Duration::from_secs(1);

/// How long tasks in flight may take to end once the role stops, and then to be given back.
const GRACE: Duration = Duration::from_secs(4);
const GIVE_BACK: Duration = Duration::from_secs(1);

struct Worker {
    tasks: Tasks,
    pool: PgPool,
    delay: Duration,
    /// One permit for each task in flight.
    slots: Arc<Semaphore>,
    concurrency: u32,
    grace: Duration,
    /// Fires when tasks in flight have had their time.
    give_up: CancellationToken,
}

/// The role, and its work: that ends after `stop` fires, and the process must not end before it.
pub(crate) async fn role(
    config: &Config,
    stop: CancellationToken,
) -> Result<(Role, BoxFuture<'static, ()>), Error> {
    let pool = database::connect(config.database_url()?).await?;
    let ready = database::readiness(&pool);
    let worker = Worker::new(config, pool)?;
    let work = tokio::spawn(work(Arc::new(worker), stop));
    // When it failed, there is nothing left to wait for.
    Ok((Role { routes: Router::new(), ready }, work.map(drop).boxed()))
}

impl Worker {
    fn new(config: &Config, pool: PgPool) -> Result<Self, Error> {
        let concurrency = u32::try_from(config.notification_concurrency).unwrap_or(u32::MAX);
        Ok(Self {
            tasks: Tasks::new(config.peer("QUEUE_URL", &config.peers.queue)?),
            pool,
            delay: config.notification_delay,
            slots: Arc::new(Semaphore::new(concurrency as usize)),
            concurrency,
            grace: GRACE,
            give_up: CancellationToken::new(),
        })
    }

    /// At least one slot, and all others that are free.
    async fn free_slots(&self) -> Vec<OwnedSemaphorePermit> {
        let slot = Arc::clone(&self.slots).acquire_owned().await.ok();
        let others = std::iter::from_fn(|| Arc::clone(&self.slots).try_acquire_owned().ok());
        slot.into_iter().chain(others).collect()
    }

    /// Returns when nothing is in flight.
    async fn idle(&self) {
        let _all = self.slots.acquire_many(self.concurrency).await;
    }
}

/// Leases no more than there are free slots, so that no leased task waits for one while its lease runs.
async fn work(worker: Arc<Worker>, stop: CancellationToken) {
    let mut pause = FIRST_PAUSE;
    while !stop.is_cancelled() {
        let permits = tokio::select! {
            permits = worker.free_slots() => permits,
            () = stop.cancelled() => break,
        };
        // A poll that has begun may have been given tasks already: it is not dropped but waited for.
        let leased = tokio::select! {
            leased = worker.tasks.lease(permits.len()) => leased,
            () = async { stop.cancelled().await; sleep(LONG_POLL).await } => break,
        };
        match leased {
            Ok(tasks) => {
                pause = FIRST_PAUSE;
                for (task, permit) in tasks.into_iter().zip(permits) {
                    let worker = Arc::clone(&worker);
                    if stop.is_cancelled() {
                        tokio::spawn(give_back(worker, task, permit));
                    } else {
                        tokio::spawn(handle(worker, task, permit));
                    }
                }
            }
            // Whoever called has logged why.
            Err(_) => {
                let _stopped = timeout(pause, stop.cancelled()).await;
                pause = (2 * pause).min(LONGEST_PAUSE);
            }
        }
    }
    if timeout(worker.grace, worker.idle()).await.is_err() {
        tracing::warn!("tasks in flight take too long and are given back");
        worker.give_up.cancel();
        let _given_back = timeout(GIVE_BACK, worker.idle()).await;
    }
}

/// A task that came too late: somebody else may have it at once.
async fn give_back(worker: Arc<Worker>, task: Leased, permit: OwnedSemaphorePermit) {
    let sender = propagation::extract_map(&task.otel);
    // When the queue does not hear it, the lease runs out.
    let _heard = worker.tasks.nack(&task, Duration::ZERO).with_context(sender).await;
    drop(permit);
}

/// One task inside its CONSUMER span: a child of the sender's, and linked to it as batches would be.
async fn handle(worker: Arc<Worker>, task: Leased, permit: OwnedSemaphorePermit) {
    let sender = propagation::extract_map(&task.otel);
    let tracer = telemetry::tracer();
    let builder = tracer
        .span_builder("process notifications")
        .with_kind(SpanKind::Consumer)
        .with_links(links(&sender))
        .with_attributes([
            KeyValue::new("messaging.system", "workbench"),
            KeyValue::new("messaging.operation.name", "process"),
            KeyValue::new("messaging.operation.type", "process"),
            KeyValue::new("messaging.destination.name", "notifications"),
            KeyValue::new("messaging.message.id", task.id.clone()),
        ]);
    let cx = sender.with_span(tracer.build_with_context(builder, &sender));
    async {
        let again_in = tokio::select! {
            processed = delivery::process(&worker.pool, worker.delay, &task) => processed.is_err().then_some(RETRY_DELAY),
            () = worker.give_up.cancelled() => Some(Duration::ZERO),
        };
        let settled = match again_in {
            None => worker.tasks.ack(&task).await,
            Some(delay) => {
                cx.span().set_status(Status::error("not processed"));
                worker.tasks.nack(&task, delay).await
            }
        };
        if settled.is_err() {
            // The lease runs out and the task comes again; if it was recorded, that will be found.
            tracing::warn!(task_id = task.id, "the queue did not hear what became of a task");
        }
    }
    .with_context(cx.clone())
    .await;
    cx.span().end();
    drop(permit);
}

/// To the sender, if it was traced.
fn links(sender: &Context) -> Vec<Link> {
    let sender = sender.span().span_context().clone();
    if sender.is_valid() { vec![Link::new(sender, Vec::new(), 0)] } else { Vec::new() }
}

#[cfg(test)]
mod tests;
