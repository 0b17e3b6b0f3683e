//! The delay before a process that has ended is started again.

use std::time::Duration;

/// Delay after a process that ran for a long time. Not zero: the processes of a killed PostgreSQL keep its shared memory for
/// some milliseconds.
const FIRST: Duration = Duration::from_millis(100);
/// Maximum delay.
const MAX: Duration = Duration::from_secs(10);
/// A process that ran for this time did not fail at its start: the next delay is the first one again.
const STABLE: Duration = Duration::from_secs(10);

/// Exponential backoff of one process: the delay doubles with each end within 10 s of a start.
#[derive(Debug, Default)]
pub(crate) struct Backoff {
    /// Ends in a row, each within [`STABLE`] of its start.
    failures: u32,
}

impl Backoff {
    /// Returns the delay before the next start of a process that has ended after it `ran` for this time.
    pub(crate) fn next(&mut self, ran: Duration) -> Duration {
        self.failures = if ran >= STABLE { 1 } else { self.failures.saturating_add(1) };
        // Beyond 2^10 the maximum applies in any case.
        (FIRST * 2_u32.pow(self.failures.saturating_sub(1).min(10))).min(MAX)
    }

    /// Returns the number of ends in a row, each soon after a start.
    pub(crate) fn failures(&self) -> u32 {
        self.failures
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_up_to_ten_seconds_and_begins_again_after_a_long_run() {
        let mut backoff = Backoff::default();
        let soon = Duration::from_secs(9);
        let delays: Vec<u128> = (0..9).map(|_| backoff.next(soon).as_millis()).collect();
        assert_eq!(delays, [100, 200, 400, 800, 1600, 3200, 6400, 10_000, 10_000]);
        assert_eq!(backoff.failures(), 9);
        assert_eq!(backoff.next(STABLE), FIRST);
        assert_eq!(backoff.failures(), 1);
        for _ in 0..100 {
            backoff.next(Duration::ZERO);
        }
        assert_eq!(backoff.next(Duration::ZERO), MAX);
    }
}
