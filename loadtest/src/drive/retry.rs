//! When a request is sent again because its outcome is unknown: no reply, a 5xx, or its key is in flight.
//!
//! Only requests that may be repeated without a further effect are. While nothing conclusive arrives for a long time, requests
//! are sent once: the users of a target that is down would otherwise wait for each other's repetitions.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Maximum number of repetitions of one request; together they take about 8 s, which is longer than a role's restart.
const MAX_RETRIES: u32 = 10;
/// Pause before the first repetition; doubled with each further one, up to the maximum.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const MAX_PAUSE: Duration = Duration::from_secs(1);
/// Requests are no longer repeated when none has had a conclusive reply for this long.
const MAX_SILENCE: Duration = Duration::from_secs(10);

/// The repetitions of one request.
#[derive(Debug, Default)]
pub(super) struct Retries {
    /// Number of repetitions so far.
    pub(super) count: u32,
}

impl Retries {
    /// Returns the pause before the next repetition; `None` if there is none. `silence` is how long no request has had a
    /// conclusive reply.
    pub(super) fn next(&mut self, silence: Duration) -> Option<Duration> {
        if self.count == MAX_RETRIES || silence > MAX_SILENCE {
            return None;
        }
        let pause = FIRST_PAUSE * 2_u32.pow(self.count.min(10));
        self.count += 1;
        Some(pause.min(MAX_PAUSE))
    }
}

/// Since when requests that may be repeated have had no conclusive reply; shared by all users.
#[derive(Debug, Default)]
pub(super) struct Silence(Mutex<Option<Instant>>);

impl Silence {
    /// Records a conclusive reply.
    pub(super) fn end(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Records that the outcome of a request is unknown. Returns how long this has been so without a conclusive reply.
    pub(super) fn last_until(&self, now: Instant) -> Duration {
        let mut since = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        now.saturating_duration_since(*since.get_or_insert(now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repeats_a_bounded_number_of_times_with_growing_pauses() {
        let mut retries = Retries::default();
        let pauses: Vec<Duration> = std::iter::from_fn(|| retries.next(Duration::ZERO)).collect();
        assert_eq!((pauses.len(), retries.count), (10, 10));
        assert!(pauses.is_sorted() && pauses[0] == FIRST_PAUSE && pauses[9] == MAX_PAUSE, "{pauses:?}");
        let sum: Duration = pauses.iter().sum();
        assert!(sum > Duration::from_secs(7) && sum < MAX_SILENCE, "{sum:?}");
    }

    #[test]
    fn a_target_that_stays_silent_gets_each_request_once_until_it_answers() {
        let (silence, zero) = (Silence::default(), Instant::now());
        let after = |seconds| silence.last_until(zero + Duration::from_secs(seconds));
        assert_eq!((after(0), after(8)), (Duration::ZERO, Duration::from_secs(8)));
        assert!(Retries::default().next(after(8)).is_some());
        assert_eq!(Retries::default().next(after(11)), None);
        silence.end();
        assert!(Retries::default().next(after(12)).is_some());
    }
}
