//! A window that slides along the slots of an operation.

use std::ops::Range;

use super::buckets;
use super::timeline::Slot;

/// Each slot enters and leaves once, so a pass over all windows takes linear time.
#[derive(Debug)]
pub(crate) struct SlidingWindow<'a> {
    /// Slots that have not entered yet.
    ahead: &'a [Slot],
    /// Slots that have not left yet.
    behind: &'a [Slot],
    has_started: bool,
    calls: u64,
    errors: u64,
    /// Number of durations in each bucket.
    buckets: Vec<u64>,
}

impl<'a> SlidingWindow<'a> {
    /// Returns a window before all slots. The slots are sorted; several may have the same index.
    pub(crate) fn before(slots: &'a [Slot]) -> Self {
        let buckets = vec![0; buckets::COUNT];
        Self { ahead: slots, behind: slots, has_started: false, calls: 0, errors: 0, buckets }
    }

    /// Moves the window. Neither end may move back.
    pub(crate) fn move_to(&mut self, indices: &Range<u32>) {
        while let [slot, ahead @ ..] = self.ahead
            && slot.index < indices.end
        {
            self.has_started = true;
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

    /// Returns the number of spans that ended in the window; `None` before the first slot, where nothing is known.
    pub(crate) fn calls(&self) -> Option<u64> {
        self.has_started.then_some(self.calls)
    }

    /// Returns the fraction of spans that failed; `None` without spans.
    pub(crate) fn error_rate(&self) -> Option<f64> {
        (self.calls > 0).then(|| self.errors as f64 / self.calls as f64)
    }

    /// Returns the quantile in milliseconds by nearest rank, accurate to the width of a bucket; `None` without spans.
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
