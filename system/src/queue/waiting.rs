//! The line, shared by those who put tasks in and those who wait for them; and the timekeeper.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until, timeout_at};
use tokio_util::sync::CancellationToken;

use super::line::{Handout, Line};

/// The line and those who wait at it.
#[derive(Debug, Clone)]
pub(super) struct Queue {
    line: Arc<Mutex<Line>>,
    /// Wakes one poller: there is a task for it.
    pub(super) arrivals: Arc<Notify>,
    /// Wakes the timekeeper: something comes back earlier than it reckoned with.
    sooner: Arc<Notify>,
    /// Long polls return at once when the role stops.
    stop: CancellationToken,
}

impl Queue {
    /// An empty queue, and the timekeeper that lives as long as `stop` lets it.
    pub(super) fn open(capacity: usize, stop: CancellationToken) -> Self {
        let line = Arc::new(Mutex::new(Line::new(capacity)));
        let queue = Self { line, arrivals: Arc::default(), sooner: Arc::default(), stop };
        tokio::spawn(queue.clone().keep_time());
        queue
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Line> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does what makes a task come back later, and tells the timekeeper when that is earlier than all others do.
    pub(super) fn returning<T>(&self, change: impl FnOnce(&mut Line) -> T) -> T {
        let mut line = self.lock();
        let before = line.next_return();
        let result = change(&mut line);
        let after = line.next_return();
        // One that came back at once is waited for as well.
        let back = !line.is_empty();
        drop(line);
        if after.is_some_and(|after| before.is_none_or(|before| after < before)) {
            self.sooner.notify_one();
        }
        // Whoever wakes takes what there is and wakes the next.
        if back {
            self.arrivals.notify_one();
        }
        result
    }

    /// Wakes a poller when a task comes back: nobody calls when a lease runs out or a delay is over.
    async fn keep_time(self) {
        loop {
            let next = self.returning(|line| {
                line.settle(Instant::now());
                line.next_return()
            });
            let due = async {
                match next {
                    Some(next) => sleep_until(next).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = due => {}
                () = self.sooner.notified() => {}
                () = self.stop.cancelled() => return,
            }
        }
    }

    /// Leases what there is; when there is nothing, waits for an arrival or a return until `wait_until`.
    pub(super) async fn wait_and_lease(
        &self,
        max: usize,
        visibility: Duration,
        wait_until: Instant,
    ) -> Vec<Handout> {
        loop {
            let handouts = self.returning(|line| line.lease(max, visibility, Instant::now()));
            if !handouts.is_empty() || Instant::now() >= wait_until || self.stop.is_cancelled() {
                return handouts;
            }
            tokio::select! {
                _ = timeout_at(wait_until, self.arrivals.notified()) => {}
                () = self.stop.cancelled() => {}
            }
        }
    }
}
