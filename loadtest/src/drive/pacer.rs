//! Wakes each request at its due instant.
//!
//! A tokio timer fires at the next whole millisecond, which would add up to a millisecond to every latency. A thread that
//! sleeps until the earliest due instant is about 50 µs late.

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio::sync::oneshot;

/// A thread that wakes tasks at given instants. It ends when the pacer is dropped.
pub(crate) struct Pacer {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    schedule: Mutex<Schedule>,
    changed: Condvar,
}

#[derive(Default)]
struct Schedule {
    sleepers: BinaryHeap<Sleeper>,
    stopped: bool,
}

struct Sleeper {
    due: Instant,
    wake: oneshot::Sender<()>,
}

impl Pacer {
    /// Starts the thread.
    pub(crate) fn start() -> std::io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let of_thread = Arc::clone(&shared);
        std::thread::Builder::new().name("pacer".into()).spawn(move || of_thread.run())?;
        Ok(Pacer { shared })
    }

    /// Waits until `due`; returns immediately if it has passed.
    pub(crate) async fn until(&self, due: Instant) {
        if due <= Instant::now() {
            return;
        }
        let (wake, woken) = oneshot::channel();
        self.shared.lock().sleepers.push(Sleeper { due, wake });
        self.shared.changed.notify_one();
        // An error means that the pacer was dropped at the end of the run.
        let _ = woken.await;
    }
}

impl Drop for Pacer {
    fn drop(&mut self) {
        self.shared.lock().stopped = true;
        self.shared.changed.notify_one();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Schedule> {
        self.schedule.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self) {
        let mut schedule = self.lock();
        while !schedule.stopped {
            let now = Instant::now();
            while schedule.sleepers.peek().is_some_and(|first| first.due <= now) {
                if let Some(first) = schedule.sleepers.pop() {
                    let _ = first.wake.send(());
                }
            }
            schedule = match schedule.sleepers.peek().map(|first| first.due.saturating_duration_since(now)) {
                Some(wait) => self
                    .changed
                    .wait_timeout(schedule, wait)
                    .map_or_else(|poisoned| poisoned.into_inner().0, |(schedule, _)| schedule),
                None => self.changed.wait(schedule).unwrap_or_else(PoisonError::into_inner),
            };
        }
    }
}

/// Orders the earliest instant last, because `BinaryHeap` returns the greatest element first.
impl Ord for Sleeper {
    fn cmp(&self, other: &Self) -> Ordering {
        other.due.cmp(&self.due)
    }
}

impl PartialOrd for Sleeper {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Sleeper {
    fn eq(&self, other: &Self) -> bool {
        self.due == other.due
    }
}

impl Eq for Sleeper {}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn wakes_every_request_and_none_early() {
        let pacer = Arc::new(Pacer::start().unwrap());
        let now = Instant::now();
        let waits: Vec<_> = (0..200_u64)
            .map(|n| {
                let (pacer, due) = (Arc::clone(&pacer), now + Duration::from_micros((n * 7919) % 100_000));
                tokio::spawn(async move {
                    pacer.until(due).await;
                    Instant::now() >= due
                })
            })
            .collect();
        for wait in waits {
            assert!(wait.await.unwrap(), "woken before it was due");
        }
    }
}
