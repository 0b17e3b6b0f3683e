//! Limits of the queue: its size, the attempts of a task, and the delay between two attempts.

use std::time::Duration;

/// Maximum delay between two attempts.
const MAX_BACKOFF: Duration = Duration::from_secs(60);

/// Limits of the queue.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// Maximum number of tasks, leased and dead ones included.
    pub(super) tasks: usize,
    /// Maximum size of all tasks, leased and dead ones included.
    pub(super) bytes: usize,
    /// Number of leases of a task after which it becomes a dead letter.
    pub(super) attempts: u32,
    /// Delay after the first attempt; doubled with each further attempt, up to [`MAX_BACKOFF`].
    pub(super) first_backoff: Duration,
}

impl Limits {
    /// Returns the delay after the failure of a task's attempt number `attempts`: half of it is fixed, half random, so that
    /// tasks that failed together are not all redelivered together.
    pub(super) fn backoff(&self, attempts: u32) -> Duration {
        let doublings = attempts.saturating_sub(1).min(31);
        let longest = self.first_backoff.saturating_mul(1 << doublings).min(MAX_BACKOFF);
        longest / 2 + (longest / 2).mul_f64(rand::random())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_backoff_doubles_up_to_its_maximum_and_varies_by_half() {
        let limits = Limits { tasks: 1, bytes: 1, attempts: 5, first_backoff: Duration::from_secs(1) };
        for (attempts, longest) in [(1, 1), (2, 2), (3, 4), (6, 32), (7, 60), (u32::MAX, 60)] {
            let longest = Duration::from_secs(longest);
            let delays: Vec<Duration> = (0..200).map(|_| limits.backoff(attempts)).collect();
            let within = |delay: &Duration| (longest / 2..=longest).contains(delay);
            assert!(delays.iter().all(within), "{attempts}: {delays:?}");
            let (least, most) = (delays.iter().min().unwrap(), delays.iter().max().unwrap());
            assert!(*most - *least > longest / 4, "{attempts}: the delays vary: {least:?} to {most:?}");
        }
    }
}
