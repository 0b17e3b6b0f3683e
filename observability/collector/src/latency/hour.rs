//! Which of the last hour's slots are kept, of all operations alike.
//!
//! Of a slot either all is kept or nothing: a count of some of its spans would look like fewer calls. So when the slots
//! take too much, the oldest leave everywhere, and what ends in them from then on is not taken.

use std::ops::Range;

/// What a slot is long.
pub(crate) const SLOT_MS: u32 = 5000;
const SLOT_NS: u64 = SLOT_MS as u64 * 1_000_000;

/// Slots of an hour.
pub(crate) const SLOTS: u32 = 720;

/// What is older than the hour stays until the hour has moved on by so many: letting go of it takes a walk through all
/// operations.
const SLOTS_A_SWEEP: u32 = SLOTS / 16;

/// When there is no room, so large a part of the time that is kept leaves.
const LEAVING: u32 = 8;

#[derive(Debug)]
pub(super) struct Hour {
    max_bytes: usize,
    /// What all slots take.
    pub(super) bytes: usize,
    /// The first slot ever, if any came.
    first: u32,
    /// The newest slot.
    newest: u32,
    /// Slots before this one have left.
    floor: u32,
    /// The newest slot when all operations were last walked through.
    swept: u32,
}

impl Hour {
    pub(super) fn new(max_bytes: usize) -> Self {
        Self { max_bytes, bytes: 0, first: u32::MAX, newest: 0, floor: 0, swept: 0 }
    }

    /// The slot that a span's end belongs to. `None` if that has left, or is more than one ahead of `now_ns`: one
    /// sender's clock must not end everybody's hour.
    pub(super) fn admit(&mut self, end_ns: u64, now_ns: u64) -> Option<u32> {
        let (slot, now) = (slot(end_ns), slot(now_ns));
        if slot > now + 1 || slot < self.floor || slot + SLOTS <= self.newest {
            return None;
        }
        self.newest = self.newest.max(slot);
        self.first = self.first.min(slot);
        Some(slot)
    }

    /// The slots of which everything that came is kept; none before the first span.
    pub(super) fn kept(&self) -> Range<u32> {
        self.first.max(self.floor).max(self.oldest())..self.newest + 1
    }

    /// The slot before which all have to leave now, if any has to.
    pub(super) fn leaving(&self) -> Option<u32> {
        if self.newest >= self.swept.saturating_add(SLOTS_A_SWEEP) {
            Some(self.oldest())
        } else if self.bytes > self.max_bytes {
            let kept = self.kept();
            Some(kept.start + (kept.len() as u32 / LEAVING).max(1))
        } else {
            None
        }
    }

    /// The first slot of the hour that ends with the newest.
    fn oldest(&self) -> u32 {
        (self.newest + 1).saturating_sub(SLOTS)
    }

    /// Those before `floor` have left, and the rest takes `bytes`.
    pub(super) fn left(&mut self, floor: u32, bytes: usize) {
        (self.floor, self.swept, self.bytes) = (floor, self.newest, bytes);
    }
}

/// Nanoseconds of 64 bits are 3.7 billion slots at most.
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
        hour.left(0, 10);
        assert_eq!(hour.leaving(), None);
        hour.bytes = 11;
        assert_eq!(hour.leaving(), Some(NOON + 2), "an eighth leaves");
        hour.left(NOON + 2, 10);
        assert_eq!(hour.admit(at(NOON + 1), at(NOON + 16)), None);
        assert_eq!(hour.kept(), NOON + 2..NOON + 16);
        hour.left(NOON + 15, 11);
        assert_eq!(hour.leaving(), Some(NOON + 16), "even the newest if necessary");
    }

    #[test]
    fn sweeps_old_slots_periodically() {
        let mut hour = Hour::new(10);
        hour.admit(at(NOON), at(NOON));
        assert_eq!(hour.leaving(), Some(NOON + 1 - SLOTS), "spans older than the first may arrive");
        hour.left(NOON + 1 - SLOTS, 0);
        hour.admit(at(NOON + SLOTS_A_SWEEP - 1), at(NOON + SLOTS));
        assert_eq!(hour.leaving(), None);
        hour.admit(at(NOON + SLOTS), at(NOON + SLOTS));
        assert_eq!(hour.leaving(), Some(NOON + 1));
    }
}
