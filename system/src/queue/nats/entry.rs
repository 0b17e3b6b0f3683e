//! The key-value entry of a task: what the queue knows of it beyond its message. Pure; times are the wall clock's.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::{Deserialize, Serialize};

use crate::queue::limits::Limits;
use crate::queue::task::{FailedAttempt, TaskId};

/// The entry of a task that was leased at least once.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Entry {
    /// Id of the publication of the task's message. An entry of another publication, left by an earlier stream, is void.
    pub(super) publication: String,
    /// Sequence of the message in its stream.
    pub(super) id: TaskId,
    /// Subject on which the latest delivery of the message is acknowledged.
    pub(super) reply: String,
    /// Number of leases so far.
    pub(super) attempts: u32,
    pub(super) state: State,
}

/// What a task does.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) enum State {
    /// It is available from a time on.
    Waiting { since: DateTime<Utc> },
    /// A consumer with the token holds it until a time. It is available again after a backoff.
    Leased { token: String, until: DateTime<Utc>, again: DateTime<Utc> },
    /// Its attempts are used up.
    Dead { reason: String, died_at: DateTime<Utc> },
    /// It was acknowledged; its message is about to be removed.
    Done,
}

impl Entry {
    /// Returns the entry with the state that it has at `now`: a lease may have expired, a delay may have ended.
    pub(super) fn at(self, now: DateTime<Utc>, limits: &Limits) -> Self {
        let state = match self.state {
            State::Leased { until, .. } if until <= now && self.attempts >= limits.attempts => {
                State::Dead { reason: "expired".to_owned(), died_at: until }
            }
            State::Leased { again, .. } if again <= now => State::Waiting { since: again },
            state => state,
        };
        Self { state, ..self }
    }

    /// Returns whether the lease with `token` is valid at `now`.
    pub(super) fn is_leased_by(&self, wanted: &str, now: DateTime<Utc>) -> bool {
        matches!(&self.state, State::Leased { token, until, .. } if token == wanted && now < *until)
    }

    /// Returns the entry after the next lease, which starts at `now`.
    pub(super) fn leased(
        self,
        token: String,
        visibility: Duration,
        now: DateTime<Utc>,
        limits: &Limits,
    ) -> Self {
        let attempts = self.attempts + 1;
        let until = later(now, visibility);
        // The last attempt is followed by no other: the message is delivered again so that the task dies.
        let backoff = if attempts < limits.attempts { limits.backoff(attempts) } else { Duration::ZERO };
        let again = later(until, backoff);
        Self { attempts, state: State::Leased { token, until, again }, ..self }
    }

    /// Returns the entry after its attempt failed at `now`.
    pub(super) fn failed(self, failed: FailedAttempt, now: DateTime<Utc>, limits: &Limits) -> Self {
        let state = if self.attempts >= limits.attempts {
            State::Dead { reason: failed.into_reason(), died_at: now }
        } else {
            State::Waiting {
                since: later(now, failed.delay.unwrap_or_else(|| limits.backoff(self.attempts))),
            }
        };
        Self { state, ..self }
    }

    /// Returns the time after `now` for which no consumer may get the task, if it is neither dead nor done.
    pub(super) fn held_for(&self, now: DateTime<Utc>) -> Option<Duration> {
        let available = match self.state {
            State::Waiting { since } => since,
            State::Leased { again, .. } => again,
            State::Dead { .. } | State::Done => return None,
        };
        (available - now).to_std().ok().filter(|held| !held.is_zero())
    }
}

fn later(time: DateTime<Utc>, by: Duration) -> DateTime<Utc> {
    time + TimeDelta::from_std(by).unwrap_or(TimeDelta::MAX)
}

/// Returns the key of a task: its event's id, or its publication's if it has no event.
pub(super) fn key(event_id: Option<&str>, publication: &str) -> String {
    match event_id {
        // A key may contain `=`, but not `%`. A `=` of the id is encoded itself.
        Some(event) => format!("event.{}", utf8_percent_encode(event, NON_ALPHANUMERIC)).replace('%', "="),
        None => format!("task.{publication}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits { tasks: 1, bytes: 1, attempts: 2, first_backoff: Duration::from_secs(1) };
    const VISIBILITY: Duration = Duration::from_secs(30);

    fn entry(now: DateTime<Utc>) -> Entry {
        let state = State::Waiting { since: now };
        Entry { publication: "p".into(), id: 7, reply: "r".into(), attempts: 0, state }
    }

    #[test]
    fn a_lease_expires_then_the_backoff_passes_then_the_task_waits() {
        let now = Utc::now();
        let leased = entry(now).leased("token".into(), VISIBILITY, now, &LIMITS);
        let at = |seconds| now + TimeDelta::seconds(seconds);
        assert!(leased.is_leased_by("token", at(29)));
        assert!(!leased.is_leased_by("other", at(29)));
        assert!(!leased.is_leased_by("token", at(30)), "expired");
        assert_eq!(leased.clone().at(at(30), &LIMITS), leased, "the backoff has not passed");
        let held = leased.held_for(at(30)).unwrap().as_secs_f64();
        assert!((0.5..=1.0).contains(&held), "{held}");
        assert!(matches!(leased.at(at(31), &LIMITS).state, State::Waiting { .. }));
    }

    #[test]
    fn the_last_attempt_leaves_a_dead_letter() {
        let now = Utc::now();
        let first = entry(now).leased("1".into(), VISIBILITY, now, &LIMITS);
        let failed = first.failed(FailedAttempt::default(), now, &LIMITS);
        assert!(failed.held_for(now).is_some());
        let last = failed.leased("2".into(), VISIBILITY, now, &LIMITS);
        let expired = now + TimeDelta::seconds(30);
        let dead = State::Dead { reason: "expired".into(), died_at: expired };
        assert_eq!(last.clone().at(expired, &LIMITS).state, dead);
        let reason = Some("no such student".to_owned());
        let returned = last.failed(FailedAttempt { delay: Some(VISIBILITY), reason }, now, &LIMITS);
        assert_eq!(returned.state, State::Dead { reason: "no such student".into(), died_at: now });
        assert_eq!(returned.held_for(now), None);
    }

    #[test]
    fn keys_of_different_events_differ_and_are_valid() {
        let ids = ["7", "a b", "a=20b", "a%20b", "a.b", "*", ">", "é", "event.7"];
        let keys: std::collections::BTreeSet<String> = ids.iter().map(|id| key(Some(id), "p")).collect();
        assert_eq!(keys.len(), ids.len());
        let is_valid = |c: char| c.is_ascii_alphanumeric() || c == '=' || c == '.';
        assert!(keys.iter().all(|key| key.chars().all(is_valid)), "{keys:?}");
        assert_eq!(key(Some("7"), "p"), "event.7");
        assert_eq!(key(None, "p"), "task.p");
    }
}
