//! The points in time that a chart has, and the window of slots before each.

use std::ops::Range;

use crate::latency::{SLOT_MS, SLOTS};
use crate::query::jaeger::Refusal;

/// Points at most, as in Prometheus.
const MAX_POINTS: i64 = 11_000;

const SLOT: i64 = SLOT_MS as i64;
const HOUR_MS: i64 = SLOT * SLOTS as i64;

/// From `lookback_ms` before `end_ms` up to it there is a point every `step_ms`, counted back from the end; a point's
/// value is that of the `rate_per_ms` before it. Since what is known is slots, that is the last slots that had ended at
/// the point, and as many as `rate_per_ms` begins: at least one.
#[derive(Debug, Clone, Copy)]
pub(in crate::query::jaeger) struct Grid {
    pub(super) end_ms: i64,
    /// Not negative.
    pub(super) lookback_ms: i64,
    /// Positive.
    pub(super) step_ms: i64,
    /// Positive.
    pub(super) rate_per_ms: i64,
}

impl Grid {
    /// Refuses what would be too many points, were there spans in all of the hour. However long the lookback is, there
    /// are none where no window has any slot that is kept.
    pub(super) fn check(&self) -> Result<(), Refusal> {
        let shown_ms = self.lookback_ms.min(HOUR_MS + self.slots() * SLOT);
        if shown_ms / self.step_ms < MAX_POINTS {
            return Ok(());
        }
        Err(Refusal::bad_request(format!(
            "exceeded maximum resolution of {MAX_POINTS} points per timeseries: use a larger step or a shorter lookback"
        )))
    }

    /// The points, in order, whose windows have any of the slots that are kept.
    pub(in crate::query::jaeger) fn points(&self, kept: &Range<u32>) -> impl Iterator<Item = i64> + use<> {
        let Self { end_ms, step_ms, .. } = *self;
        let first_ms = (i64::from(kept.start) + 1) * SLOT;
        let last_ms = (i64::from(kept.end) + self.slots()) * SLOT - 1;
        let oldest = self.lookback_ms.min(end_ms - first_ms).div_euclid(step_ms);
        let newest = ((end_ms - last_ms).max(0) + step_ms - 1) / step_ms;
        let steps = if kept.is_empty() { 0..0 } else { newest..oldest + 1 };
        steps.rev().map(move |steps| end_ms - steps * step_ms)
    }

    /// The slots that count at a point.
    pub(in crate::query::jaeger) fn window(&self, point_ms: i64) -> Range<u32> {
        let end = point_ms.div_euclid(SLOT);
        let slot = |index: i64| u32::try_from(index.max(0)).unwrap_or(u32::MAX);
        slot(end - self.slots())..slot(end)
    }

    /// All slots that count at any point.
    pub(in crate::query::jaeger) fn slots_of_all(&self) -> Range<u32> {
        self.window(self.end_ms - self.lookback_ms).start..self.window(self.end_ms).end
    }

    /// Slots of a window.
    fn slots(&self) -> i64 {
        (self.rate_per_ms - 1) / SLOT + 1
    }
}
