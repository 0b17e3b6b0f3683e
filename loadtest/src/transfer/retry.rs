//! How long to go on asking a receiver that has no room.

use std::time::{Duration, Instant};

use reqwest::header::{HeaderMap, RETRY_AFTER};

/// In all, for one request.
pub(super) const RETRY_TIMEOUT: Duration = Duration::from_secs(60);

/// The pauses where the receiver names none: the first, and the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// What is left of it.
pub(super) struct RetryDelays {
    end: Instant,
    pause: Duration,
}

impl RetryDelays {
    pub(super) fn from(now: Instant) -> Self {
        Self { end: now + RETRY_TIMEOUT, pause: FIRST_PAUSE }
    }

    /// How long to wait before the next attempt; `None` if that would be too late.
    pub(super) fn pause(&mut self, now: Instant, asked_for: Option<Duration>) -> Option<Duration> {
        // A receiver that asks for no pause at all still gets one.
        let pause = asked_for.map_or(self.pause, |asked_for| asked_for.max(FIRST_PAUSE));
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
        let left = self.end.saturating_duration_since(now);
        (pause <= left).then_some(pause)
    }
}

/// `Retry-After` in seconds, or until a date.
pub(super) fn retry_after(headers: &HeaderMap, now: chrono::DateTime<chrono::Utc>) -> Option<Duration> {
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
    fn pauses_grow_and_end_within_a_minute() {
        let start = Instant::now();
        let (mut patience, mut now) = (RetryDelays::from(start), start);
        let mut pauses = Vec::new();
        while let Some(pause) = patience.pause(now, None) {
            pauses.push(pause);
            now += pause;
        }
        assert_eq!(pauses[..3], [250, 500, 1000].map(Duration::from_millis));
        assert!(
            now <= start + RETRY_TIMEOUT && now > start + RETRY_TIMEOUT - LONGEST_PAUSE,
            "{:?}",
            now - start
        );
    }

    #[test]
    fn what_the_receiver_asks_for_is_kept_to_unless_it_is_too_long() {
        let now = Instant::now();
        let mut patience = RetryDelays::from(now);
        let seconds = Duration::from_secs;
        assert_eq!(patience.pause(now, Some(seconds(60))), Some(seconds(60)));
        assert_eq!(patience.pause(now, Some(Duration::ZERO)), Some(FIRST_PAUSE), "not without a pause");
        assert_eq!(patience.pause(now, Some(seconds(61))), None);
        assert_eq!(patience.pause(now + seconds(50), Some(seconds(11))), None);
        assert_eq!(patience.pause(now + seconds(60), Some(Duration::ZERO)), None, "not for ever");
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let now = chrono::DateTime::parse_from_rfc2822("Tue, 24 Nov 2026 10:00:00 GMT").unwrap().to_utc();
        let of = |value: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(RETRY_AFTER, value.parse().unwrap());
            retry_after(&headers, now)
        };
        assert_eq!(of("7"), Some(Duration::from_secs(7)));
        assert_eq!(of("Tue, 24 Nov 2026 10:00:09 GMT"), Some(Duration::from_secs(9)));
        assert_eq!(of("Tue, 24 Nov 2026 09:00:00 GMT"), Some(Duration::ZERO));
        assert_eq!(of("soon"), None);
    }
}
