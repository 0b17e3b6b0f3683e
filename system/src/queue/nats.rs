//! The storage in NATS JetStream: tasks survive every restart, and several queue processes serve one queue.
//!
//! A task is one message of a work-queue stream, on a subject of its own that is named after its event's id. The message is there
//! from `POST /enqueue` until `POST /ack`, also while the task is leased, delayed or dead. It is published on the condition that
//! its subject has none, so an event is held once, and dead letters count towards the limits of the stream.
//!
//! What the queue knows beyond that is in a key-value entry for each task, with the same name: the number of attempts, the token of
//! the lease and when it expires, the dead letter's reason. Every change of a task is a compare-and-set of its entry by revision.
//! NATS matches an acknowledgement by the sequence of its message only, so a stale one would remove the task from under a newer
//! lease: [`link`] sends one only after the entry was changed from "leased with this token" to "done". Where the process ends in
//! between, the message is delivered once more and the entry shows that it is done.
//!
//! The consumer's `ack_wait` is short, and the length of a lease is not NATS's business: after each lease the message is negatively
//! acknowledged with the lease's length and backoff as the delay. A lost delay makes NATS deliver the message early; the entry shows
//! that it is held, and it is delayed for the rest. With the longest visibility as `ack_wait` instead, a process that ends between the
//! delivery of a message and its lease would delay the task by ten minutes. Publishing a message again for each attempt would not
//! be atomic with the removal of the old one, and fails when the stream is full. The clocks of the queue processes decide when a
//! lease expires; they should agree to within a fraction of the visibility timeout.
//!
//! A message without an entry is a task that was not leased before. If the bucket is lost, tasks are delivered again with their
//! attempts at zero; if the stream is lost, so are its tasks, and their senders enqueue them again. NATS writes to its files before
//! it confirms, but does not flush them to the disk each time: set `sync_interval` of the server to survive a power failure.

mod entry;
mod link;
mod delivery;
mod dead;

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_nats::jetstream::Message;
use async_nats::{ConnectError, ServerAddr};
use bytes::Bytes;
use chrono::Utc;
use futures::FutureExt as _;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::limits::Limits;
use super::storage::{Counts, Depth, Storage, StorageError};
use super::task::{Delivery, Enqueued, FailedAttempt, Task, TaskId};
use crate::api::DeadTask;
use crate::app::Readiness;
use entry::{Entry, State};
use link::{Handles, Link, failed};

/// Number of times that a change is repeated because another process changed the same task in between.
const CONFLICTS: usize = 10;

/// Time after which NATS delivers the message of a dead letter again, and the queue puts it off again. A dead letter whose
/// redrive was interrupted is leased after it at the latest.
const DEAD_INTERVAL: Duration = Duration::from_secs(600);

/// Range of the wait of one request for messages. NATS 2.9 does not answer a request without a wait if messages are delayed. It
/// does not answer one for a consumer that is gone either, so a long poll is made of several requests.
const MIN_FETCH: Duration = Duration::from_millis(50);
const MAX_FETCH: Duration = Duration::from_secs(1);

/// Time between two readings of the depth for the metrics.
const DEPTH_INTERVAL: Duration = Duration::from_secs(10);

/// Maximum time of a readiness check.
const READY_TIMEOUT: Duration = Duration::from_secs(1);

/// A handle of the queue; clones share it.
#[derive(Debug, Clone)]
pub(super) struct NatsQueue(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    link: Link,
    limits: Limits,
    depth: Mutex<Depth>,
    counts: AtomicCounts,
    /// Ends the long polls when the role stops.
    shutdown: CancellationToken,
}

/// [`Counts`] of this process.
#[derive(Debug, Default)]
struct AtomicCounts {
    enqueued: AtomicU64,
    duplicates: AtomicU64,
    attempts: AtomicU64,
    acknowledged: AtomicU64,
    expired: AtomicU64,
    stale: AtomicU64,
}

fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Relaxed);
}

impl NatsQueue {
    /// Connects in the background; until then, and whenever the connection is lost, every call fails.
    pub(super) async fn open(
        server: ServerAddr,
        limits: Limits,
        shutdown: CancellationToken,
    ) -> Result<Self, ConnectError> {
        let link = Link::open(server, limits).await?;
        let (depth, counts) = (Mutex::default(), AtomicCounts::default());
        let queue = Self(Arc::new(Shared { link, limits, depth, counts, shutdown }));
        tokio::spawn(queue.clone().read_depth());
        Ok(queue)
    }

    /// Returns a check that NATS answers and has what the queue needs.
    pub(super) fn readiness(&self) -> Readiness {
        let queue = self.clone();
        Arc::new(move || {
            let queue = queue.clone();
            async move {
                let size = queue.0.link.call(|nats| async move { nats.size().await });
                matches!(timeout(READY_TIMEOUT, size).await, Ok(Ok(_)))
            }
            .boxed()
        })
    }

    /// Reads the depth for the metrics until the role stops.
    async fn read_depth(self) {
        let this = &self;
        while this.0.shutdown.run_until_cancelled(sleep(DEPTH_INTERVAL)).await.is_some() {
            // Without an answer the last figures remain.
            if let Ok(depth) = this.0.link.call(|nats| async move { this.measure(&nats).await }).await {
                *this.0.depth.lock().unwrap_or_else(PoisonError::into_inner) = depth;
            }
        }
    }

    /// Publishes a task, unless the queue holds one of the same event. A repeated call with the same publication adds nothing.
    async fn publish(
        &self,
        nats: &Handles,
        publication: &str,
        task: &Task,
    ) -> Result<Enqueued, StorageError> {
        let key = entry::key(task.event_id.as_deref(), publication);
        let message = Bytes::from(serde_json::to_vec(task).map_err(failed)?);
        for _ in 0..CONFLICTS {
            if let Some(id) = nats.publish(&key, publication, message.clone()).await? {
                return Ok(Enqueued::Added(id));
            }
            if let Some(held) = nats.message_of(&key).await? {
                let is_own = delivery::publication(&held.headers) == Some(publication);
                let enqueued = if is_own { Enqueued::Added } else { Enqueued::Duplicate };
                return Ok(enqueued(held.sequence));
            }
            // The held task was acknowledged in between.
        }
        Err(StorageError::TimedOut)
    }

    async fn lease_messages(
        &self,
        messages: &[Message],
        visibility: Duration,
    ) -> Result<Vec<Delivery>, StorageError> {
        if messages.is_empty() {
            return Ok(Vec::new());
        }
        self.0.link.call(|nats| async move { self.lease_all(&nats, messages, visibility).await }).await
    }

    /// Changes the entry of a task that is leased by `lease`. Returns it and its revision.
    async fn settle(
        &self,
        nats: &Handles,
        lease: &str,
        change: impl Fn(Entry) -> Entry,
    ) -> Result<(String, Entry, u64), StorageError> {
        let (token, key) = lease.split_once('.').ok_or(StorageError::Expired)?;
        for _ in 0..CONFLICTS {
            let (entry, revision) = nats.entry(key).await?;
            let entry = entry.filter(|entry| entry.is_leased_by(token, Utc::now()));
            let next = change(entry.ok_or(StorageError::Expired)?);
            if let Some(revision) = nats.replace(key, &next, revision).await? {
                return Ok((key.to_owned(), next, revision));
            }
        }
        Err(StorageError::TimedOut)
    }

    /// Counts a refused acknowledgement.
    fn counted<T>(&self, settled: Result<T, StorageError>) -> Result<T, StorageError> {
        if let Err(StorageError::Expired) = settled {
            count(&self.0.counts.stale);
        }
        settled
    }
}

impl Storage for NatsQueue {
    async fn enqueue(&self, task: Task) -> Result<Enqueued, StorageError> {
        let _wait = telemetry::wait_span!("wait nats");
        let (task, publication) = (&task, &random_id());
        let enqueued =
            self.0.link.call(|nats| async move { self.publish(&nats, publication, task).await }).await?;
        match enqueued {
            Enqueued::Added(_) => count(&self.0.counts.enqueued),
            Enqueued::Duplicate(_) => count(&self.0.counts.duplicates),
        }
        Ok(enqueued)
    }

    async fn lease(
        &self,
        max: usize,
        visibility: Duration,
        wait_until: Instant,
    ) -> Result<Vec<Delivery>, StorageError> {
        let link = &self.0.link;
        let mut has_failed = false;
        loop {
            let left = wait_until.saturating_duration_since(Instant::now());
            let nats = link.call(|nats| async move { Ok(nats) }).await?;
            let messages = tokio::select! {
                biased;
                () = link.disconnected() => return Err(StorageError::Disconnected),
                () = self.0.shutdown.cancelled() => return Ok(Vec::new()),
                messages = nats.fetch(max, left.clamp(MIN_FETCH, MAX_FETCH)) => messages,
            };
            match messages {
                Ok(messages) => {
                    has_failed = false;
                    let leased = self.lease_messages(&messages, visibility).await?;
                    if !leased.is_empty() || left.is_zero() {
                        return Ok(leased);
                    }
                }
                Err(error) if has_failed => return Err(error),
                // The next call creates what is missing.
                Err(_) => {
                    has_failed = true;
                    link.forget();
                }
            }
        }
    }

    async fn ack(&self, _: TaskId, lease: &str) -> Result<(), StorageError> {
        let _wait = telemetry::wait_span!("wait nats");
        let acked = self.0.link.call(|nats| async move {
            let done = |entry| Entry { state: State::Done, ..entry };
            let (key, entry, revision) = self.settle(&nats, lease, done).await?;
            clean_up(&nats, &key, &entry, revision).await;
            Ok(())
        });
        self.counted(acked.await)?;
        count(&self.0.counts.acknowledged);
        Ok(())
    }

    async fn nack(&self, _: TaskId, lease: &str, failed: FailedAttempt) -> Result<(), StorageError> {
        let _wait = telemetry::wait_span!("wait nats");
        let failed = &failed;
        let returned = self.0.link.call(|nats| async move {
            let now = Utc::now();
            let change = |entry: Entry| entry.failed(failed.clone(), now, &self.0.limits);
            let (_, entry, _) = self.settle(&nats, lease, change).await?;
            let delay = match &entry.state {
                State::Dead { .. } => {
                    log_dead(&entry);
                    DEAD_INTERVAL
                }
                _ => entry.held_for(Utc::now()).unwrap_or_default(),
            };
            // If this is lost, the delay that was set at the lease applies.
            let _delayed = nats.delay(&entry.reply, delay).await;
            Ok(())
        });
        self.counted(returned.await)
    }

    async fn dead(&self, after: TaskId, limit: usize) -> Result<Vec<DeadTask>, StorageError> {
        self.0.link.call(|nats| async move { self.dead_tasks(&nats, after, limit).await }).await
    }

    async fn redrive(&self, ids: Option<Vec<TaskId>>) -> Result<usize, StorageError> {
        let _wait = telemetry::wait_span!("wait nats");
        let ids = ids.as_deref();
        self.0.link.call(|nats| async move { self.redrive_all(&nats, ids).await }).await
    }

    fn figures(&self) -> (Depth, Counts) {
        let counts = &self.0.counts;
        let counts = Counts {
            enqueued: counts.enqueued.load(Relaxed),
            duplicates: counts.duplicates.load(Relaxed),
            attempts: counts.attempts.load(Relaxed),
            acknowledged: counts.acknowledged.load(Relaxed),
            expired: counts.expired.load(Relaxed),
            stale: counts.stale.load(Relaxed),
        };
        (*self.0.depth.lock().unwrap_or_else(PoisonError::into_inner), counts)
    }
}

/// Removes the message of a task that is done, then its entry. If that fails, the message is delivered once more, or the entry
/// is removed when the depth is read.
async fn clean_up(nats: &Handles, key: &str, entry: &Entry, revision: u64) {
    if nats.acknowledge(&entry.reply).await.is_ok() {
        let _removed = nats.remove(key, revision).await;
    }
}

fn log_dead(entry: &Entry) {
    tracing::warn!(task_id = entry.id, "a task has used up its attempts: see GET /dead");
}

/// Returns an id that no other process returns.
fn random_id() -> String {
    format!("{:032x}", rand::random::<u128>())
}
