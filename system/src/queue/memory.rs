//! The storage in memory: the policy as its handlers share it, with long polls, and the timer that wakes them. A restart empties
//! it. No call waits for anything but tasks.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until, timeout_at};
use tokio_util::sync::CancellationToken;

use super::limits::Limits;
use super::policy::{Dead, LeaseQueue, Leasing};
use super::storage::{Counts, Depth, Storage, StorageError};
use super::task::{Delivery, Enqueued, FailedAttempt, Task, TaskId};
use crate::api::DeadTask;

/// A handle of the queue; clones share it.
#[derive(Debug, Clone)]
pub(super) struct MemoryQueue {
    queue: Arc<Mutex<LeaseQueue>>,
    /// Wakes one long poll: a task is available.
    available: Arc<Notify>,
    /// Wakes the timer: a task becomes available earlier than expected.
    rescheduled: Arc<Notify>,
    /// Ends the long polls and the timer when the role stops.
    shutdown: CancellationToken,
}

impl MemoryQueue {
    /// Opens an empty queue and starts its timer, which runs until `shutdown`.
    pub(super) fn open(limits: Limits, shutdown: CancellationToken) -> Self {
        let queue = Arc::new(Mutex::new(LeaseQueue::new(limits)));
        let shared = Self { queue, available: Arc::default(), rescheduled: Arc::default(), shutdown };
        tokio::spawn(shared.clone().run_timer());
        shared
    }

    fn lock(&self) -> MutexGuard<'_, LeaseQueue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Applies a change that starts or ends leases or delays, and wakes the timer and a long poll if necessary.
    fn update<T>(&self, change: impl FnOnce(&mut LeaseQueue) -> T) -> T {
        let mut queue = self.lock();
        let (before, dead_before) = (queue.next_change(), queue.depth().dead);
        let result = change(&mut queue);
        let (after, dead) = (queue.next_change(), queue.depth().dead);
        let has_task = !queue.is_empty();
        drop(queue);
        if dead > dead_before {
            tracing::warn!(dead, "a task has used up its attempts: see GET /dead");
        }
        if after.is_some_and(|after| before.is_none_or(|before| after < before)) {
            self.rescheduled.notify_one();
        }
        // The woken long poll leases up to its maximum and, if tasks are left, wakes the next long poll in the same way.
        if has_task {
            self.available.notify_one();
        }
        result
    }

    /// Wakes a long poll when a lease or a delay ends, because no request does.
    async fn run_timer(self) {
        loop {
            let next = self.update(|queue| {
                queue.advance(Instant::now());
                queue.next_change()
            });
            let due = async {
                match next {
                    Some(next) => sleep_until(next).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = due => {}
                () = self.rescheduled.notified() => {}
                () = self.shutdown.cancelled() => return,
            }
        }
    }

    /// Leases up to `max` tasks. If none is available, waits for one until `wait_until`.
    async fn wait_and_lease(&self, max: usize, visibility: Duration, wait_until: Instant) -> Vec<Leasing> {
        loop {
            let deliveries = self.update(|queue| queue.lease(max, visibility, Instant::now()));
            if !deliveries.is_empty() || Instant::now() >= wait_until || self.shutdown.is_cancelled() {
                return deliveries;
            }
            tokio::select! {
                _ = timeout_at(wait_until, self.available.notified()) => {}
                () = self.shutdown.cancelled() => {}
            }
        }
    }
}

impl Storage for MemoryQueue {
    async fn enqueue(&self, task: Task) -> Result<Enqueued, StorageError> {
        let enqueued = self.lock().enqueue(task, Instant::now()).ok_or(StorageError::Full)?;
        if let Enqueued::Added(_) = enqueued {
            self.available.notify_one();
        }
        Ok(enqueued)
    }

    async fn lease(
        &self,
        max: usize,
        visibility: Duration,
        wait_until: Instant,
    ) -> Result<Vec<Delivery>, StorageError> {
        let leased = self.wait_and_lease(max, visibility, wait_until).await;
        Ok(leased.into_iter().map(delivery).collect())
    }

    async fn ack(&self, id: TaskId, lease: &str) -> Result<(), StorageError> {
        // The ids of leases are opaque to consumers, so an invalid one is treated as an unknown one, which is 0.
        let lease = lease.parse().unwrap_or_default();
        if self.lock().ack(id, lease, Instant::now()) { Ok(()) } else { Err(StorageError::Expired) }
    }

    async fn nack(&self, id: TaskId, lease: &str, failed: FailedAttempt) -> Result<(), StorageError> {
        let lease = lease.parse().unwrap_or_default();
        let returned = self.update(|queue| queue.nack(id, lease, failed, Instant::now()));
        if returned { Ok(()) } else { Err(StorageError::Expired) }
    }

    async fn dead(&self, after: TaskId, limit: usize) -> Result<Vec<DeadTask>, StorageError> {
        let dead = self.lock().dead(after, limit);
        let task = |(id, Dead { task, attempts, reason, died_at })| {
            Task::clone(&task).into_dead(id, attempts, reason, died_at)
        };
        Ok(dead.into_iter().map(task).collect())
    }

    async fn redrive(&self, ids: Option<Vec<TaskId>>) -> Result<usize, StorageError> {
        Ok(self.update(|queue| queue.redrive(ids.as_deref(), Instant::now())))
    }

    fn figures(&self) -> (Depth, Counts) {
        let queue = self.lock();
        (queue.depth(), queue.counts())
    }
}

/// Copies the texts of a task, after the lock of the queue was released.
fn delivery(Leasing { id, lease, task, attempts, waited }: Leasing) -> Delivery {
    Delivery { id, lease: lease.to_string(), task: Task::clone(&task), attempts, waited }
}
