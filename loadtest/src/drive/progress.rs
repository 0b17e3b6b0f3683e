//! Figures for the progress display, updated while the load runs.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock};
use std::time::{Duration, Instant};

use super::outstanding::Outstanding;
use super::{REPLY_ALLOWANCE, lock};
use crate::measure::{Outcome, Sample, histogram};

/// The state of a load under way.
#[derive(Default)]
pub(crate) struct DriveProgress {
    /// Users that have finished their log-in.
    pub(crate) logged_in: AtomicUsize,
    /// Goose users in total.
    pub(crate) users: AtomicUsize,
    /// Time zero of the plan, once it is set.
    pub(super) zero: OnceLock<Instant>,
    /// Latencies of verified replies from the due instant in nanoseconds, since the display last took them.
    latencies_ns: Mutex<Vec<u64>>,
    conflicts: AtomicU64,
    wrong: AtomicU64,
    failed: AtomicU64,
    /// Requests in these three counts that the display has taken.
    shown: AtomicU64,
    pub(super) outstanding: Mutex<Outstanding>,
}

/// The replies since the last look, and the requests that still wait for one.
pub(crate) struct Replies {
    /// Replies of any outcome since the last look.
    pub(crate) count: u64,
    wrong: u64,
    failed: u64,
    overdue: usize,
    /// Latencies of verified replies, and so far of requests without a reply; absent before time zero.
    latencies_ns: Option<Vec<u64>>,
}

impl DriveProgress {
    /// Records the outcome of a request after time zero.
    pub(super) fn replied(&self, sample: &Sample) {
        match sample.outcome {
            Outcome::Verified => lock(&self.latencies_ns).push(sample.latency_ns),
            Outcome::Conflict => _ = self.conflicts.fetch_add(1, Ordering::Relaxed),
            Outcome::Wrong => _ = self.wrong.fetch_add(1, Ordering::Relaxed),
            Outcome::Failed => _ = self.failed.fetch_add(1, Ordering::Relaxed),
        }
        lock(&self.outstanding).answer(sample.due, sample.kind);
    }

    /// Takes the replies since the last call.
    pub(crate) fn take(&self) -> Replies {
        let mut latencies_ns = std::mem::take(&mut *lock(&self.latencies_ns));
        let (wrong, failed) = (self.wrong.load(Ordering::Relaxed), self.failed.load(Ordering::Relaxed));
        let others = wrong + failed + self.conflicts.load(Ordering::Relaxed);
        let unverified = others - self.shown.swap(others, Ordering::Relaxed);
        let count = latencies_ns.len() as u64 + unverified;
        let now = self.zero.get().and_then(|zero| Instant::now().checked_duration_since(*zero));
        let Some(now) = now else {
            return Replies { count, wrong, failed, overdue: 0, latencies_ns: None };
        };
        let waits: Vec<Duration> =
            lock(&self.outstanding).due_by(now).map(|(due, _)| now.saturating_sub(due)).collect();
        latencies_ns.extend(waits.iter().map(|wait| wait.as_nanos() as u64));
        let overdue = waits.iter().filter(|wait| **wait > REPLY_ALLOWANCE).count();
        Replies { count, wrong, failed, overdue, latencies_ns: Some(latencies_ns) }
    }
}

impl Replies {
    /// Returns the line of the display; `None` before time zero. A request without a reply counts with its latency so far,
    /// so that an outage does not look like a fast system; it is overdue after one second.
    pub(crate) fn message(self, rate: f64) -> Option<String> {
        let latencies_ns = self.latencies_ns?;
        let p99 = match latencies_ns.is_empty() {
            true => "-".to_owned(),
            false => collector::format::duration(histogram(latencies_ns.into_iter()).value_at_quantile(0.99)),
        };
        let Replies { wrong, failed, overdue, .. } = self;
        Some(format!("{rate:.0}/s  p99 {p99}  wrong {wrong}  failed {failed}  overdue {overdue}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::{RequestKind, sample};
    use crate::plan::{Action, Journey, PlannedJourney, Step};

    #[test]
    fn requests_without_a_reply_count_with_their_latency_so_far() {
        let step = |ms| Step { due: Duration::from_millis(ms), action: Action::Bookings };
        let steps = vec![step(0), step(10), step(20), step(3_600_000)];
        let plan = [PlannedJourney { journey: Journey::Book, steps }];
        let progress = DriveProgress::default();
        assert!(progress.take().message(0.0).is_none(), "the log-ins are not over");
        *lock(&progress.outstanding) = Outstanding::of(&plan);
        let zero = Instant::now().checked_sub(Duration::from_secs(5)).unwrap();
        progress.zero.set(zero).unwrap();
        let reply = |due_ms| sample(RequestKind::Bookings, Duration::from_millis(due_ms), 2_000_000);
        progress.replied(&reply(0));
        progress.replied(&Sample { outcome: Outcome::Failed, ..reply(10) });
        let replies = progress.take();
        assert_eq!(replies.count, 2);
        let line = replies.message(1.0).unwrap();
        assert!(line.contains("p99 4.9") || line.contains("p99 5."), "{line}");
        assert!(line.ends_with("wrong 0  failed 1  overdue 1"), "{line}");
        progress.replied(&reply(20));
        let line = progress.take().message(1.0).unwrap();
        assert_eq!(line, "1/s  p99 2.00 ms  wrong 0  failed 1  overdue 0");
        assert!(progress.take().message(0.0).unwrap().contains("p99 -"), "nothing is due");
    }
}
