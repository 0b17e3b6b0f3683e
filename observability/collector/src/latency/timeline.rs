//! What one operation did lately, five seconds at a time.

use std::ops::Range;

use super::counts::Counts;

/// Room for slots grows by so many at once: doubling would waste as much as it holds.
const SLOTS_AT_ONCE: usize = 16;

/// So many of the newest slots are not packed: spans come in some seconds after they ended.
const OPEN: usize = 3;

/// What ended in five seconds.
#[derive(Debug, Clone)]
pub(crate) struct Slot {
    pub(super) index: u32,
    pub(super) calls: u32,
    pub(super) errors: u32,
    pub(super) durations: Counts,
}

impl Slot {
    /// Which five seconds: the first since the epoch are 0.
    pub(crate) fn index(&self) -> u32 {
        self.index
    }
}

/// The slots of one operation in which anything ended, the oldest first.
#[derive(Debug, Default)]
pub(super) struct Timeline {
    slots: Vec<Slot>,
    /// What the slots take beside themselves.
    counts_bytes: usize,
}

impl Timeline {
    pub(super) fn record(&mut self, index: u32, duration_ns: u64, error: bool) {
        let position = match self.slots.last() {
            Some(last) if last.index == index => self.slots.len() - 1,
            _ => self.position_of(index),
        };
        let slot = &mut self.slots[position];
        slot.calls = slot.calls.saturating_add(1);
        slot.errors = slot.errors.saturating_add(u32::from(error));
        let before = slot.durations.bytes();
        slot.durations.add(duration_ns);
        self.counts_bytes = self.counts_bytes + slot.durations.bytes() - before;
    }

    /// Where the slot is; it is made if it is not there.
    fn position_of(&mut self, index: u32) -> usize {
        self.slots.binary_search_by_key(&index, |slot| slot.index).unwrap_or_else(|position| {
            if self.slots.len() == self.slots.capacity() {
                self.slots.reserve_exact(SLOTS_AT_ONCE);
            }
            let neighbour = position.checked_sub(1).and_then(|before| self.slots.get(before));
            let durations = Counts::like(neighbour.map(|slot| &slot.durations));
            self.counts_bytes += durations.bytes();
            self.slots.insert(position, Slot { index, calls: 0, errors: 0, durations });
            if let Some(behind) = (self.slots.len() - 1).checked_sub(OPEN) {
                self.pack(behind);
            }
            position
        })
    }

    fn pack(&mut self, position: usize) {
        let durations = &mut self.slots[position].durations;
        let before = durations.bytes();
        durations.pack();
        self.counts_bytes = self.counts_bytes + durations.bytes() - before;
    }

    /// Forgets the slots before this one, and gives back what room the others do not need.
    pub(super) fn forget_before(&mut self, index: u32) {
        let leaving = self.slots.drain(..self.slots.partition_point(|slot| slot.index < index));
        self.counts_bytes -= leaving.map(|slot| slot.durations.bytes()).sum::<usize>();
        self.slots.shrink_to_fit();
        // Some may have been opened by what came late.
        (0..self.slots.len().saturating_sub(OPEN)).for_each(|position| self.pack(position));
    }

    /// A copy of these slots, without their durations if nobody will ask for them.
    pub(super) fn copy(&self, indices: &Range<u32>, durations: bool) -> Vec<Slot> {
        let from = self.slots.partition_point(|slot| slot.index < indices.start);
        let slots = self.slots[from..].iter().take_while(|slot| slot.index < indices.end);
        let without = |slot: &Slot| Slot { durations: Counts::Open(Vec::new()), ..*slot };
        slots.map(|slot| if durations { slot.clone() } else { without(slot) }).collect()
    }

    pub(super) fn bytes(&self) -> usize {
        self.slots.capacity() * size_of::<Slot>() + self.counts_bytes
    }
}

#[cfg(test)]
mod tests;
