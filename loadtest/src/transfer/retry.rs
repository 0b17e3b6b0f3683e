//! Delays between attempts to send to a busy receiver.
//!
//! Considered: a retry middleware such as reqwest-retry. It would have to give up early when `Retry-After` exceeds the
//! time that is left, which is most of this module.

use std::time::{Duration, Instant};

use reqwest::header::{HeaderMap, RETRY_AFTER};

/// Maximum total time of the attempts to send one request.
pub(super) const RETRY_TIMEOUT: Duration = Duration::from_secs(60);

/// First and longest delay if the receiver sends no `Retry-After`; the delay doubles from one to the other.
const FIRST_DELAY: Duration = Duration::from_millis(250);
const MAX_DELAY: Duration = Duration::from_secs(5);

/// The time that is left, and the next delay.
pub(super) struct RetryDelays {
    end: Instant,
    delay: Duration,
}

impl RetryDelays {
    pub(super) fn from(now: Instant) -> Self {
        Self { end: now + RETRY_TIMEOUT, delay: FIRST_DELAY }
    }

    /// Returns the delay before the next attempt; `None` if that attempt would be too late.
    pub(super) fn delay(&mut self, now: Instant, retry_after: Option<Duration>) -> Option<Duration> {
        // `Retry-After: 0` still causes a delay.
        let delay = retry_after.map_or(self.delay, |retry_after| retry_after.max(FIRST_DELAY));
        self.delay = (self.delay * 2).min(MAX_DELAY);
        let left = self.end.saturating_duration_since(now);
        (delay <= left).then_some(delay)
    }
}

/// Parses `Retry-After`, which is a number of seconds or a date.
pub(super) fn parse_retry_after(headers: &HeaderMap, now: chrono::DateTime<chrono::Utc>) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = chrono::DateTime::parse_from_rfc2822(text).ok()?;
    Some(date.signed_duration_since(now).to_std().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_and_end_within_a_minute() {
        let start = Instant::now();
        let (mut delays, mut now) = (RetryDelays::from(start), start);
        let mut delays_seen = Vec::new();
        while let Some(delay) = delays.delay(now, None) {
            delays_seen.push(delay);
            now += delay;
        }
        assert_eq!(delays_seen[..3], [250, 500, 1000].map(Duration::from_millis));
        assert!(now <= start + RETRY_TIMEOUT && now > start + RETRY_TIMEOUT - MAX_DELAY, "{:?}", now - start);
    }

    #[test]
    fn honours_retry_after_unless_it_is_too_long() {
        let now = Instant::now();
        let mut delays = RetryDelays::from(now);
        let seconds = Duration::from_secs;
        assert_eq!(delays.delay(now, Some(seconds(60))), Some(seconds(60)));
        assert_eq!(delays.delay(now, Some(Duration::ZERO)), Some(FIRST_DELAY), "at least the first delay");
        assert_eq!(delays.delay(now, Some(seconds(61))), None);
        assert_eq!(delays.delay(now + seconds(50), Some(seconds(11))), None);
        assert_eq!(delays.delay(now + seconds(60), Some(Duration::ZERO)), None, "the time is up");
    }

    #[test]
    fn parses_retry_after_as_seconds_or_date() {
        let now = chrono::DateTime::parse_from_rfc2822("Tue, 24 Nov 2026 10:00:00 GMT").unwrap().to_utc();
        let of = |value: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(RETRY_AFTER, value.parse().unwrap());
            parse_retry_after(&headers, now)
        };
        assert_eq!(of("7"), Some(Duration::from_secs(7)));
        assert_eq!(of("Tue, 24 Nov 2026 10:00:09 GMT"), Some(Duration::from_secs(9)));
        assert_eq!(of("Tue, 24 Nov 2026 09:00:00 GMT"), Some(Duration::ZERO));
        assert_eq!(of("tomorrow"), None);
    }
}
