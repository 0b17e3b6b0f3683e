//! A window that moves along slots, and what happened in it.

use std::ops::Range;

use super::buckets;
use super::timeline::Slot;

/// Each slot enters and leaves once, so to move it along all of them takes as long as there are slots.
#[derive(Debug)]
pub(crate) struct Window<'a> {
    /// Those that have not entered yet.
    ahead: &'a [Slot],
    /// Those that have not left yet.
    behind: &'a [Slot],
    has_met: bool,
    calls: u64,
    errors: u64,
    /// How many durations lie in each bucket.
    buckets: Vec<u64>,
}

impl<'a> Window<'a> {
    /// Before all of the slots, which are in order; some may be of the same five seconds.
    pub(crate) fn before(slots: &'a [Slot]) -> Self {
        let buckets = vec![0; buckets::COUNT];
        Self { ahead: slots, behind: slots, has_met: false, calls: 0, errors: 0, buckets }
    }

    /// Neither end may move back.
    pub(crate) fn move_to(&mut self, indices: &Range<u32>) {
        while let [slot, ahead @ ..] = self.ahead
            && slot.index < indices.end
        {
            self.has_met = true;
            self.calls += u64::from(slot.calls);
            self.errors += u64::from(slot.errors);
            slot.durations.for_each(|bucket, count| self.buckets[usize::from(bucket)] += u64::from(count));
            self.ahead = ahead;
        }
        while let [slot, behind @ ..] = self.behind
            && slot.index < indices.start
        {
            self.calls -= u64::from(slot.calls);
            self.errors -= u64::from(slot.errors);
            slot.durations.for_each(|bucket, count| self.buckets[usize::from(bucket)] -= u64::from(count));
            self.behind = behind;
        }
    }

    /// Spans that ended in it. `None` as long as it has met none: nothing is known of the time before the first.
    pub(crate) fn calls(&self) -> Option<u64> {
        self.has_met.then_some(self.calls)
    }

    /// The part of its spans that failed, if there are any.
    pub(crate) fn error_rate(&self) -> Option<f64> {
        (self.calls > 0).then(|| self.errors as f64 / self.calls as f64)
    }

    /// The duration that this part of its spans do not exceed, by the nearest rank, in milliseconds and to within a
    /// bucket's width. `None` without any spans.
    pub(crate) fn quantile_ms(&self, quantile: f64) -> Option<f64> {
        let rank = ((quantile * self.calls as f64).ceil() as u64).max(1);
        let mut up_to_here = 0;
        let bucket = self.buckets.iter().position(|count| {
            up_to_here += count;
            up_to_here >= rank
        })?;
        Some(buckets::middle(bucket) / 1e6)
    }
}

#[cfg(test)]
mod tests;
