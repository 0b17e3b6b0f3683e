//! The points in time of a chart, and the window of slots before each.

use std::ops::Range;

use crate::latency::{SLOT_MS, SLOTS};
use crate::query::jaeger::error::ApiError;

/// Maximum number of points in a series, as in Prometheus.
const MAX_POINTS: i64 = 11_000;

const SLOT: i64 = SLOT_MS as i64;
const HOUR_MS: i64 = SLOT * SLOTS as i64;

/// Points from `end_ms` back to `lookback_ms` before it, every `step_ms`. The value of a point covers a window of
/// `rate_per_ms`, rounded up to whole slots, whose last slot ended at the point or before it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Grid {
    pub(super) end_ms: i64,
    /// Not negative.
    pub(super) lookback_ms: i64,
    /// Positive.
    pub(super) step_ms: i64,
    /// Positive.
    pub(super) rate_per_ms: i64,
}

impl Grid {
    /// Rejects a grid with more than 11,000 points. Counts only points that can have data, whose windows overlap the last
    /// hour: a long lookback alone is no reason to reject a grid.
    pub(super) fn check(&self) -> Result<(), ApiError> {
        let covered_ms = self.lookback_ms.min(HOUR_MS + self.slots() * SLOT);
        if covered_ms / self.step_ms < MAX_POINTS {
            return Ok(());
        }
        Err(ApiError::bad_request(format!(
            "exceeded maximum resolution of {MAX_POINTS} points per timeseries: use a larger step or a shorter lookback"
        )))
    }

    /// Returns the points whose windows contain any of the kept slots, in order.
    pub(super) fn points(&self, kept: &Range<u32>) -> impl Iterator<Item = i64> + use<> {
        let Self { end_ms, step_ms, .. } = *self;
        let first_ms = (i64::from(kept.start) + 1) * SLOT;
        let last_ms = (i64::from(kept.end) + self.slots()) * SLOT - 1;
        let oldest = self.lookback_ms.min(end_ms - first_ms).div_euclid(step_ms);
        let newest = ((end_ms - last_ms).max(0) + step_ms - 1) / step_ms;
        let steps = if kept.is_empty() { 0..0 } else { newest..oldest + 1 };
        steps.rev().map(move |steps| end_ms - steps * step_ms)
    }

    /// Returns the slots in a point's window.
    pub(super) fn window(&self, point_ms: i64) -> Range<u32> {
        let end = point_ms.div_euclid(SLOT);
        let slot = |index: i64| u32::try_from(index.max(0)).unwrap_or(u32::MAX);
        slot(end - self.slots())..slot(end)
    }

    /// Returns the slots in the windows of all points.
    pub(super) fn slots_of_all(&self) -> Range<u32> {
        self.window(self.end_ms - self.lookback_ms).start..self.window(self.end_ms).end
    }

    /// Returns the number of slots in a window.
    fn slots(&self) -> i64 {
        (self.rate_per_ms - 1) / SLOT + 1
    }
}
