//! Wakes each waiting request at its due instant.
//!
//! A tokio timer fires on the next whole millisecond, which would stand in every latency counted from the due
//! instant; a thread that sleeps until the earliest instant is some fifty microseconds late.

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio::sync::oneshot;

/// A thread that wakes tasks at given instants; it ends when the pacer is dropped.
pub(crate) struct Pacer {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    waiting: BinaryHeap<Waiting>,
    stopped: bool,
}

struct Waiting {
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

    /// Returns at `due`, or at once if that has passed.
    pub(crate) async fn until(&self, due: Instant) {
        if due <= Instant::now() {
            return;
        }
        let (wake, woken) = oneshot::channel();
        self.shared.lock().waiting.push(Waiting { due, wake });
        self.shared.changed.notify_one();
        // An error means that the pacer is gone, and with it the run.
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
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self) {
        let mut state = self.lock();
        while !state.stopped {
            let now = Instant::now();
            while state.waiting.peek().is_some_and(|first| first.due <= now) {
                if let Some(first) = state.waiting.pop() {
                    let _ = first.wake.send(());
                }
            }
            state = match state.waiting.peek().map(|first| first.due.saturating_duration_since(now)) {
                Some(wait) => self
                    .changed
                    .wait_timeout(state, wait)
                    .map_or_else(|poisoned| poisoned.into_inner().0, |(state, _)| state),
                None => self.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
            };
        }
    }
}

/// The earliest instant is the greatest, as `BinaryHeap` hands out the greatest first.
impl Ord for Waiting {
    fn cmp(&self, other: &Self) -> Ordering {
        other.due.cmp(&self.due)
    }
}

impl PartialOrd for Waiting {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Waiting {
    fn eq(&self, other: &Self) -> bool {
        self.due == other.due
    }
}

impl Eq for Waiting {}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn the_pacer_wakes_no_request_early_and_all_of_them() {
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
