//! Whether one address of a peer should receive requests: a policy without sockets.
//!
//! An address is avoided after it refused a connection or let a call time out, until a readiness probe succeeds. It is also
//! avoided while calls are open of which none has been answered for a long time: a process that is stopped accepts connections
//! and never answers.

use std::time::Duration;

use tokio::time::Instant;

/// Time without a reply after which an address with open calls is avoided. Longer than a consumer's long poll (2 s).
pub(super) const MAX_SILENCE: Duration = Duration::from_secs(3);

#[derive(Debug)]
pub(super) struct Health {
    /// Whether only a probe puts the address back into the rotation.
    is_down: bool,
    /// Number of calls without an outcome.
    open: usize,
    /// Start of the first open call, or the last reply if that came later.
    silent_since: Instant,
}

impl Health {
    pub(super) fn new(now: Instant) -> Self {
        Self { is_down: false, open: 0, silent_since: now }
    }

    /// Returns whether the address should receive a request now.
    pub(super) fn is_up(&self, now: Instant) -> bool {
        !self.is_down && (self.open == 0 || !self.is_silent(now))
    }

    /// Records the result of a readiness probe. Returns whether it changed anything.
    pub(super) fn probed(&mut self, is_ready: bool) -> bool {
        std::mem::replace(&mut self.is_down, !is_ready) == is_ready
    }

    /// Records the start of a call, which must end with [`Health::end`].
    pub(super) fn begin(&mut self, now: Instant) {
        if self.open == 0 {
            self.silent_since = now;
        }
        self.open += 1;
    }

    /// Records the end of a call. Returns whether the address went down.
    pub(super) fn end(&mut self, outcome: Outcome, now: Instant) -> bool {
        self.open -= 1;
        let failed = match outcome {
            Outcome::Answered => {
                self.silent_since = now;
                false
            }
            Outcome::Failed => true,
            Outcome::Dropped => self.is_silent(now),
        };
        failed && !std::mem::replace(&mut self.is_down, true)
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
    /// No connection could be opened, or the deadline of the call passed.
    Failed,
    /// The caller went away, or the connection broke.
    Dropped,
}

#[cfg(test)]
mod tests;
