//! Why a user's requests are late: a user sends one request at a time, so a slow reply delays what comes after it.

use std::time::{Duration, Instant};

use super::REPLY_ALLOWANCE;
use crate::measure::DelayCause;

/// The delays of one user, from journey to journey.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct UserDelays {
    /// Cause of the delay of the last journey, if it ended later than the number of users allows for.
    behind: Option<DelayCause>,
}

/// The delays of one journey.
#[derive(Clone, Copy, Debug)]
pub(super) struct JourneyDelays {
    /// Since when the user can send the next request.
    free_since: Instant,
    /// Cause of the delay if the next request was due before that.
    if_late: DelayCause,
}

/// The delay of one request before the generator could send it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Delay {
    pub(super) cause: DelayCause,
    pub(super) blocked: Duration,
}

impl UserDelays {
    /// Begins a journey, which the user takes at `now`.
    pub(super) fn begin(self, now: Instant) -> JourneyDelays {
        JourneyDelays { free_since: now, if_late: self.behind.unwrap_or(DelayCause::NoFreeUser) }
    }

    /// Ends a journey whose last request, delayed by `last`, was due at `due`.
    pub(super) fn end(&mut self, due: Instant, last: Delay, now: Instant) {
        let in_time = now <= due + REPLY_ALLOWANCE;
        self.behind = match last.cause {
            _ if in_time => None,
            DelayCause::NoFreeUser => Some(DelayCause::NoFreeUser),
            DelayCause::Generator | DelayCause::PreviousReply | DelayCause::BusyUsers => {
                Some(DelayCause::BusyUsers)
            }
        };
    }
}

impl JourneyDelays {
    /// Returns the delay of a request that is due at `due`.
    pub(super) fn of(&self, due: Instant) -> Delay {
        let blocked = self.free_since.saturating_duration_since(due);
        let cause = if blocked.is_zero() { DelayCause::Generator } else { self.if_late };
        Delay { cause, blocked }
    }

    /// Records the reply to a request that was due at `due`, delayed by `delay` and sent at `sent`. `next` is when the next
    /// request of the journey is due.
    pub(super) fn replied(&mut self, due: Instant, delay: Delay, sent: Instant, now: Instant, next: Instant) {
        // The reply would have arrived this much after `next` if the request had been sent when it was due.
        let by_reply = (now - (sent - due).min(now - due)).saturating_duration_since(next);
        let late = now.saturating_duration_since(next);
        let inherited = late.saturating_sub(by_reply);
        let was_late = delay.cause != DelayCause::Generator;
        self.if_late = if was_late && inherited > by_reply { delay.cause } else { DelayCause::PreviousReply };
        self.free_since = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn a_slow_reply_delays_the_next_request_of_the_journey() {
        let zero = Instant::now();
        let mut journey = UserDelays::default().begin(zero);
        let first = journey.of(zero + MS);
        assert_eq!(first, Delay { cause: DelayCause::Generator, blocked: Duration::ZERO });
        journey.replied(zero + MS, first, zero + MS, zero + 500 * MS, zero + 200 * MS);
        let second = journey.of(zero + 200 * MS);
        assert_eq!(second, Delay { cause: DelayCause::PreviousReply, blocked: 300 * MS });
        journey.replied(zero + 200 * MS, second, zero + 500 * MS, zero + 501 * MS, zero + 400 * MS);
        let third = journey.of(zero + 400 * MS);
        assert_eq!((third.cause, third.blocked), (DelayCause::PreviousReply, 101 * MS), "inherited");
    }

    #[test]
    fn a_journey_that_begins_late_for_lack_of_users_stays_late_for_that_reason() {
        let zero = Instant::now();
        let (now, mut user) = (zero + 1000 * MS, UserDelays::default());
        let mut journey = user.begin(now);
        let first = journey.of(zero + 100 * MS);
        assert_eq!(first, Delay { cause: DelayCause::NoFreeUser, blocked: 900 * MS });
        journey.replied(zero + 100 * MS, first, now, now + MS, zero + 300 * MS);
        let second = journey.of(zero + 300 * MS);
        assert_eq!((second.cause, second.blocked), (DelayCause::NoFreeUser, 701 * MS));
        user.end(zero + 300 * MS, second, zero + 1400 * MS);
        assert_eq!(user.begin(zero + 1400 * MS).of(zero).cause, DelayCause::NoFreeUser);
    }

    #[test]
    fn a_user_held_by_a_slow_reply_delays_the_next_journey() {
        let zero = Instant::now();
        let mut user = UserDelays::default();
        let on_time = user.begin(zero).of(zero + MS);
        let now = zero + MS + REPLY_ALLOWANCE + MS;
        user.end(zero + MS, on_time, now);
        assert_eq!(user.begin(now).of(zero + 500 * MS).cause, DelayCause::BusyUsers);
        user.end(now, on_time, now + MS);
        assert_eq!(user.begin(now).of(zero).cause, DelayCause::NoFreeUser, "the last reply came in time");
    }
}
