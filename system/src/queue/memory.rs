//! The queue in memory as its handlers share it, with long polls, and the timer that wakes them.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until, timeout_at};
use tokio_util::sync::CancellationToken;

use super::limits::Limits;
use super::policy::{Delivery, LeaseQueue};

/// A handle of the queue; clones share it.
#[derive(Debug, Clone)]
pub(super) struct SharedQueue {
    queue: Arc<Mutex<LeaseQueue>>,
    /// Wakes one long poll: a task is available.
    pub(super) available: Arc<Notify>,
    /// Wakes the timer: a task becomes available earlier than expected.
    rescheduled: Arc<Notify>,
    /// Ends the long polls and the timer when the role stops.
    shutdown: CancellationToken,
}

impl SharedQueue {
    /// Opens an empty queue and starts its timer, which runs until `shutdown`.
    pub(super) fn open(limits: Limits, shutdown: CancellationToken) -> Self {
        let queue = Arc::new(Mutex::new(LeaseQueue::new(limits)));
        let shared = Self { queue, available: Arc::default(), rescheduled: Arc::default(), shutdown };
        tokio::spawn(shared.clone().run_timer());
        shared
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, LeaseQueue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Applies a change that starts or ends leases or delays, and wakes the timer and a long poll if necessary.
    pub(super) fn update<T>(&self, change: impl FnOnce(&mut LeaseQueue) -> T) -> T {
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
    pub(super) async fn wait_and_lease(
        &self,
        max: usize,
        visibility: Duration,
        wait_until: Instant,
    ) -> Vec<Delivery> {
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
