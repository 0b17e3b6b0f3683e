//! Whether one address of a peer should receive requests: a policy without sockets.
//!
//! An address is avoided for a while after it refused a connection or let a call time out, and while calls are open of which
//! none has been answered for a long time: a process that is stopped accepts connections and never answers. Afterwards it
//! receives one call at a time until it answers one.

use std::time::Duration;

use tokio::time::Instant;

/// Time for which an address is avoided after a failure.
pub(super) const EJECTION: Duration = Duration::from_secs(5);

/// Time without a reply after which an address with open calls is avoided. Longer than a consumer's long poll (2 s).
pub(super) const MAX_SILENCE: Duration = Duration::from_secs(3);

#[derive(Debug)]
pub(super) struct Health {
    standing: Standing,
    /// Number of calls without an outcome.
    open: usize,
    /// Start of the first open call, or the last reply if that came later.
    silent_since: Instant,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    Up,
    /// Avoided until the instant; then tried by one call at a time.
    Ejected(Instant),
    /// Avoided until a readiness probe succeeds.
    Down,
}

impl Health {
    pub(super) fn new(now: Instant) -> Self {
        Self { standing: Standing::Up, open: 0, silent_since: now }
    }

    /// Returns whether the address should receive a request now.
    pub(super) fn is_up(&self, now: Instant) -> bool {
        match self.standing {
            Standing::Up => self.open == 0 || !self.is_silent(now),
            Standing::Ejected(until) => now >= until && self.open == 0,
            Standing::Down => false,
        }
    }

    /// Records the result of a readiness probe. Returns whether the standing changed.
    pub(super) fn probed(&mut self, is_ready: bool) -> bool {
        let standing = if is_ready { Standing::Up } else { Standing::Down };
        std::mem::replace(&mut self.standing, standing) != standing
    }

    /// Records the start of a call, which must end with [`Health::end`].
    pub(super) fn begin(&mut self, now: Instant) {
        if self.open == 0 {
            self.silent_since = now;
        }
        self.open += 1;
    }

    /// Records the end of a call.
    pub(super) fn end(&mut self, outcome: Outcome, now: Instant) {
        self.open -= 1;
        match (outcome, self.standing) {
            (_, Standing::Down) => {}
            (Outcome::Answered, _) => {
                self.standing = Standing::Up;
                self.silent_since = now;
            }
            (Outcome::Unreachable | Outcome::TimedOut, _) => {
                self.standing = Standing::Ejected(now + EJECTION)
            }
            (Outcome::Dropped, _) if self.is_silent(now) => self.standing = Standing::Ejected(now + EJECTION),
            (Outcome::Dropped, _) => {}
        }
    }

    fn is_silent(&self, now: Instant) -> bool {
        now.duration_since(self.silent_since) >= MAX_SILENCE
    }
}

/// How a call of one address ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// A reply arrived, of any status.
    Answered,
    /// No connection could be opened.
    Unreachable,
    /// The deadline of the call passed.
    TimedOut,
    /// The caller went away, or the connection broke.
    Dropped,
}

#[cfg(test)]
mod tests;
