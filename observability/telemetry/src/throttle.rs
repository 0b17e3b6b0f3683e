//! Limits how often one kind of event is logged.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Interval between two log lines of the same kind.
pub const INTERVAL: Duration = Duration::from_secs(60);

/// Admits the first event and then at most one event in each [`INTERVAL`].
///
/// An overload repeats the same event thousands of times a second; a line for each would hide every other line.
///
/// ```
/// use telemetry::throttle::Throttle;
///
/// let throttle = Throttle::new();
/// assert_eq!(throttle.admit(), Some(1));
/// assert_eq!(throttle.admit(), None);
/// ```
#[derive(Debug, Default)]
pub struct Throttle(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    admitted: Option<Instant>,
    suppressed: u64,
}

impl Throttle {
    /// Returns a throttle that admits the next event.
    pub const fn new() -> Self {
        Self(Mutex::new(State { admitted: None, suppressed: 0 }))
    }

    /// Counts one event. Returns the number of events since the last admitted one, this event included, if it is admitted.
    pub fn admit(&self) -> Option<u64> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        if state.admitted.is_some_and(|admitted| now.duration_since(admitted) < INTERVAL) {
            state.suppressed += 1;
            return None;
        }
        state.admitted = Some(now);
        Some(1 + std::mem::take(&mut state.suppressed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn admits_one_event_a_minute_with_the_number_of_the_others() {
        let throttle = Throttle::new();
        let burst: Vec<_> = (0..3).map(|_| throttle.admit()).collect();
        assert_eq!(burst, [Some(1), None, None]);
        tokio::time::advance(INTERVAL).await;
        assert_eq!(throttle.admit(), Some(3));
    }
}
