//! The range of slots that is kept, common to all operations.
//!
//! A slot is kept completely or not at all: a partial count would look like fewer calls. When the slots exceed their
//! limit, the oldest are removed from all operations, and later spans that end in them are not recorded.

use std::ops::Range;

/// Length of a slot in milliseconds.
pub(crate) const SLOT_MS: u32 = 5000;
const SLOT_NS: u64 = SLOT_MS as u64 * 1_000_000;

/// Number of slots of an hour.
pub(crate) const SLOTS: u32 = 720;

/// Number of slots after which those older than an hour are removed. Removal iterates over all operations.
const SLOTS_PER_SWEEP: u32 = SLOTS / 16;

/// Part of the range that is removed when the slots exceed their limit, as a divisor.
const REMOVED_PART: u32 = 8;

#[derive(Debug)]
pub(super) struct Hour {
    max_bytes: usize,
    /// Bytes of all slots.
    pub(super) bytes: usize,
    /// The oldest slot ever; `u32::MAX` before the first span.
    first: u32,
    /// The newest slot.
    newest: u32,
    /// The oldest slot that was not removed.
    floor: u32,
    /// The newest slot at the time of the last removal.
    swept: u32,
}

impl Hour {
    pub(super) fn new(max_bytes: usize) -> Self {
        Self { max_bytes, bytes: 0, first: u32::MAX, newest: 0, floor: 0, swept: 0 }
    }

    /// Returns the slot of a span's end. `None` if it was removed, is older than an hour, or is more than one slot
    /// ahead of `now_ns`: a wrong clock of one sender must not shift the hour of all.
    pub(super) fn admit(&mut self, end_ns: u64, now_ns: u64) -> Option<u32> {
        let (slot, now) = (slot(end_ns), slot(now_ns));
        if slot > now + 1 || slot < self.floor || slot + SLOTS <= self.newest {
            return None;
        }
        self.newest = self.newest.max(slot);
        self.first = self.first.min(slot);
        Some(slot)
    }

    /// Returns the slots whose spans are all counted; empty before the first span.
    pub(super) fn kept(&self) -> Range<u32> {
        self.first.max(self.floor).max(self.oldest())..self.newest + 1
    }

    /// Returns the slot before which all slots must be removed now, if any.
    pub(super) fn removal_boundary(&self) -> Option<u32> {
        if self.newest >= self.swept.saturating_add(SLOTS_PER_SWEEP) {
            Some(self.oldest())
        } else if self.bytes > self.max_bytes {
            let kept = self.kept();
            Some(kept.start + (kept.len() as u32 / REMOVED_PART).max(1))
        } else {
            None
        }
    }

    /// Returns the first slot of the hour that ends with the newest.
    fn oldest(&self) -> u32 {
        (self.newest + 1).saturating_sub(SLOTS)
    }

    /// Notes that the slots before `floor` were removed and the rest takes `bytes`.
    pub(super) fn removed(&mut self, floor: u32, bytes: usize) {
        (self.floor, self.swept, self.bytes) = (floor, self.newest, bytes);
    }
}

/// Returns the slot of a time. A `u64` of nanoseconds has at most 3.7 billion slots.
fn slot(ns: u64) -> u32 {
    (ns / SLOT_NS) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A slot more than an hour after the epoch.
    const NOON: u32 = 100_000;

    fn at(slot: u32) -> u64 {
        u64::from(slot) * SLOT_NS
    }

    #[test]
    fn a_slot_is_five_seconds_long() {
        let mut hour = Hour::new(0);
        assert!(hour.kept().is_empty(), "{hour:?}");
        assert_eq!(hour.admit(at(NOON), at(NOON)), Some(NOON));
        assert_eq!(hour.admit(at(NOON) - 1, at(NOON)), Some(NOON - 1));
        assert_eq!(hour.kept(), NOON - 1..NOON + 1);
        assert_eq!(Hour::new(0).admit(u64::MAX, u64::MAX), Some(3_689_348_814));
    }

    #[test]
    fn rejects_ends_before_the_hour_or_in_the_future() {
        let mut hour = Hour::new(0);
        let now = at(NOON) + 1;
        assert_eq!(hour.admit(at(NOON + 2), now), None);
        assert_eq!(hour.admit(at(NOON + 2) - 1, now), Some(NOON + 1), "tolerates a small clock difference");
        assert_eq!(hour.admit(at(NOON + 2 - SLOTS), now), Some(NOON + 2 - SLOTS));
        assert_eq!(hour.admit(at(NOON + 2 - SLOTS) - 1, now), None);
        assert_eq!(hour.kept(), NOON + 2 - SLOTS..NOON + 2);
    }

    #[test]
    fn a_slot_removed_for_space_stays_removed() {
        let mut hour = Hour::new(10);
        for slot in NOON..NOON + 16 {
            hour.admit(at(slot), at(NOON + 16));
        }
        hour.removed(0, 10);
        assert_eq!(hour.removal_boundary(), None);
        hour.bytes = 11;
        assert_eq!(hour.removal_boundary(), Some(NOON + 2), "an eighth leaves");
        hour.removed(NOON + 2, 10);
        assert_eq!(hour.admit(at(NOON + 1), at(NOON + 16)), None);
        assert_eq!(hour.kept(), NOON + 2..NOON + 16);
        hour.removed(NOON + 15, 11);
        assert_eq!(hour.removal_boundary(), Some(NOON + 16), "even the newest if necessary");
    }

    #[test]
    fn sweeps_old_slots_periodically() {
        let mut hour = Hour::new(10);
        hour.admit(at(NOON), at(NOON));
        assert_eq!(
            hour.removal_boundary(),
            Some(NOON + 1 - SLOTS),
            "spans from before the first slot may arrive"
        );
        hour.removed(NOON + 1 - SLOTS, 0);
        hour.admit(at(NOON + SLOTS_PER_SWEEP - 1), at(NOON + SLOTS));
        assert_eq!(hour.removal_boundary(), None);
        hour.admit(at(NOON + SLOTS), at(NOON + SLOTS));
        assert_eq!(hour.removal_boundary(), Some(NOON + 1));
    }
}
