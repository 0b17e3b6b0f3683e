//! The last hour of one operation, in slots of 5 s.
//!
//! Considered: the crate `hdrhistogram` for each slot and its interval log; an empty histogram takes kilobytes, and
//! an operation has up to 720 slots.

use std::ops::Range;

use super::duration_counts::DurationCounts;

/// Number of slots by which the vector grows. Doubling could leave half of the memory unused.
const GROWTH: usize = 16;

/// Number of newest slots that stay unpacked, since spans arrive some seconds after their end.
const UNPACKED: usize = 3;

/// The spans that ended within 5 s.
#[derive(Debug, Clone)]
pub(crate) struct Slot {
    pub(super) index: u32,
    pub(super) calls: u32,
    pub(super) errors: u32,
    pub(super) durations: DurationCounts,
}

impl Slot {
    /// Returns the position in time: slot 0 begins at the epoch.
    pub(crate) fn index(&self) -> u32 {
        self.index
    }
}

/// The non-empty slots of one operation, the oldest first.
#[derive(Debug, Default)]
pub(super) struct Timeline {
    slots: Vec<Slot>,
    /// Heap bytes of the slots' counts.
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

    /// Returns the position of a slot; inserts it if it is new.
    fn position_of(&mut self, index: u32) -> usize {
        self.slots.binary_search_by_key(&index, |slot| slot.index).unwrap_or_else(|position| {
            if self.slots.len() == self.slots.capacity() {
                self.slots.reserve_exact(GROWTH);
            }
            let neighbour = position.checked_sub(1).and_then(|before| self.slots.get(before));
            let durations = DurationCounts::like(neighbour.map(|slot| &slot.durations));
            self.counts_bytes += durations.bytes();
            self.slots.insert(position, Slot { index, calls: 0, errors: 0, durations });
            if let Some(behind) = (self.slots.len() - 1).checked_sub(UNPACKED) {
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

    /// Removes the slots before `index` and releases unused memory.
    pub(super) fn remove_before(&mut self, index: u32) {
        let leaving = self.slots.drain(..self.slots.partition_point(|slot| slot.index < index));
        self.counts_bytes -= leaving.map(|slot| slot.durations.bytes()).sum::<usize>();
        self.slots.shrink_to_fit();
        // Late spans may have unpacked some.
        (0..self.slots.len().saturating_sub(UNPACKED)).for_each(|position| self.pack(position));
    }

    /// Copies the slots in the range; with durations on request.
    pub(super) fn copy(&self, indices: &Range<u32>, durations: bool) -> Vec<Slot> {
        let from = self.slots.partition_point(|slot| slot.index < indices.start);
        let slots = self.slots[from..].iter().take_while(|slot| slot.index < indices.end);
        let without = |slot: &Slot| Slot { durations: DurationCounts::Open(Vec::new()), ..*slot };
        slots.map(|slot| if durations { slot.clone() } else { without(slot) }).collect()
    }

    pub(super) fn bytes(&self) -> usize {
        self.slots.capacity() * size_of::<Slot>() + self.counts_bytes
    }
}

#[cfg(test)]
mod tests;
