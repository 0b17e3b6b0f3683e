//! Limits the log lines of requests answered with 4xx: a flood of bad requests would otherwise fill the log. The duration
//! metric counts all of them.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Maximum number of client errors that are logged in each [`PERIOD`]; the others are counted.
const LOGGED_PER_PERIOD: u32 = 50;
const PERIOD: Duration = Duration::from_secs(1);

/// Decides which client errors (status 4xx) are logged.
#[derive(Debug)]
pub(super) struct ClientErrorLog(Mutex<Option<Period>>);

#[derive(Debug, Clone, Copy)]
struct Period {
    started: Instant,
    logged: u32,
    suppressed: u64,
}

/// What to log for one client error.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Decision {
    /// Whether the error gets a line.
    pub(super) logged: bool,
    /// Number of errors without a line in the period that has just ended.
    pub(super) suppressed_before: u64,
}

impl ClientErrorLog {
    pub(super) const fn new() -> Self {
        Self(Mutex::new(None))
    }

    /// Counts one client error.
    pub(super) fn admit(&self) -> Decision {
        let mut period = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let ended = period.is_none_or(|period| now.duration_since(period.started) >= PERIOD);
        let before = if ended { period.take() } else { None };
        let period = period.get_or_insert(Period { started: now, logged: 0, suppressed: 0 });
        let logged = period.logged < LOGGED_PER_PERIOD;
        if logged {
            period.logged += 1;
        } else {
            period.suppressed += 1;
        }
        Decision { logged, suppressed_before: before.map_or(0, |period| period.suppressed) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn logs_fifty_errors_a_second_and_counts_the_others() {
        let log = ClientErrorLog::new();
        let logged = (0..80).filter(|_| log.admit().logged).count();
        assert_eq!(logged, 50);
        tokio::time::advance(PERIOD).await;
        assert_eq!(log.admit(), Decision { logged: true, suppressed_before: 30 });
        assert_eq!(log.admit(), Decision { logged: true, suppressed_before: 0 });
    }
}
