//! A bounded set of recent trace ids, each with a small number as its value.
//!
//! Considered: Bloom filters (`bloomfilter`) and cuckoo filters (`cuckoofilter`), which store no value with an id
//! and do not remove the oldest; `lru` takes about ten times as much memory per id.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use crate::trace::TraceId;

/// Number of bits of an id's value. A slot holds the value plus 1, because 0 is an empty slot.
const VALUE_BITS: u32 = 4;

/// Exclusive upper bound of a value.
pub(super) const VALUES: u8 = (1 << VALUE_BITS) - 1;

/// Maximum number of ids in a generation: 90 MB.
const MAX_GENERATION: usize = 1 << 24;

/// Number of bits of a value in files of schema 1.
const VALUE_BITS_1: u32 = 3;

/// Contains at least the last `generation` ids and at most twice as many. An id takes a slot of four bytes; the
/// slot's position and a fingerprint of 28 bits identify it. With a million ids, the probability of a false positive is
/// about one in five million.
#[derive(Debug)]
pub(crate) struct RecentIds {
    current: IdTable,
    previous: IdTable,
}

/// Open addressing with linear probing, at most three quarters full.
#[derive(Debug)]
struct IdTable {
    slots: Vec<u32>,
    used: usize,
}

/// The slots of both tables, in little-endian bytes, in base64.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct RecentIdsSnapshot([String; 2]);

impl RecentIds {
    pub(crate) fn new(generation: usize) -> Self {
        // Not cloned: zeroed pages take no memory until they are written.
        let table =
            || IdTable { slots: vec![0; generation.clamp(1, MAX_GENERATION).div_ceil(3) * 4], used: 0 };
        Self { current: table(), previous: table() }
    }

    /// Adds an id with a value less than [`VALUES`].
    pub(crate) fn insert(&mut self, id: TraceId, value: u8) {
        if self.current.is_full() {
            std::mem::swap(&mut self.current, &mut self.previous);
            self.current.clear();
        }
        self.current.insert(id.rank(), value);
    }

    /// Returns the value of an id; `None` for an id that is not in the set.
    pub(crate) fn get(&self, id: TraceId) -> Option<u8> {
        let rank = id.rank();
        self.current.get(rank).or_else(|| self.previous.get(rank))
    }

    pub(crate) fn snapshot(&self) -> RecentIdsSnapshot {
        let text = |table: &IdTable| {
            let bytes: Vec<u8> = table.slots.iter().flat_map(|slot| slot.to_le_bytes()).collect();
            STANDARD.encode(bytes)
        };
        RecentIdsSnapshot([text(&self.current), text(&self.previous)])
    }

    /// Restores a snapshot; `None` if it is damaged.
    pub(crate) fn restore(RecentIdsSnapshot([current, previous]): &RecentIdsSnapshot) -> Option<Self> {
        let table = |text: &String| {
            let bytes = STANDARD.decode(text).ok()?;
            let (slots, rest) = bytes.as_chunks();
            let slots: Vec<u32> = slots.iter().map(|slot| u32::from_le_bytes(*slot)).collect();
            let used = slots.iter().filter(|slot| **slot != 0).count();
            // A lookup in a full table would not end.
            (rest.is_empty() && used < slots.len()).then_some(IdTable { slots, used })
        };
        Some(Self { current: table(current)?, previous: table(previous)? })
    }
}

impl IdTable {
    fn is_full(&self) -> bool {
        self.used >= self.slots.len() / 4 * 3
    }

    fn clear(&mut self) {
        self.slots.fill(0);
        self.used = 0;
    }

    fn insert(&mut self, rank: u64, value: u8) {
        let mut at = self.place(rank);
        while self.slots[at] != 0 {
            if self.slots[at] >> VALUE_BITS == fingerprint(rank) {
                return;
            }
            at = (at + 1) % self.slots.len();
        }
        self.slots[at] = fingerprint(rank) << VALUE_BITS | (u32::from(value) + 1);
        self.used += 1;
    }

    fn get(&self, rank: u64) -> Option<u8> {
        let mut at = self.place(rank);
        while self.slots[at] != 0 {
            if self.slots[at] >> VALUE_BITS == fingerprint(rank) {
                return Some((self.slots[at] & ((1 << VALUE_BITS) - 1)) as u8 - 1);
            }
            at = (at + 1) % self.slots.len();
        }
        None
    }

    /// Returns the first slot to probe. The order of slots is not that of ranks: traces with the highest ranks are
    /// evicted first, and would form one long run.
    fn place(&self, rank: u64) -> usize {
        let mixed = rank.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
        ((mixed * self.slots.len() as u64) >> 32) as usize
    }
}

impl RecentIdsSnapshot {
    /// Converts a snapshot of schema 1, whose slots have a value of 3 bits and a fingerprint of 29. The positions of the
    /// slots are the same. A damaged snapshot stays as it is, and [`RecentIds::restore`] rejects it.
    pub(crate) fn upgrade(&mut self) {
        for text in &mut self.0 {
            let Ok(mut bytes) = STANDARD.decode(&*text) else { continue };
            for slot in bytes.as_chunks_mut().0 {
                let old = u32::from_le_bytes(*slot);
                let value = old & ((1 << VALUE_BITS_1) - 1);
                *slot = (old >> VALUE_BITS << VALUE_BITS | value).to_le_bytes();
            }
            *text = STANDARD.encode(bytes);
        }
    }
}

/// Returns 28 bits of the lower half of a rank.
fn fingerprint(rank: u64) -> u32 {
    rank as u32 >> VALUE_BITS
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: u128) -> TraceId {
        TraceId(number << 64 | number)
    }

    #[test]
    fn remembers_the_latest_ids_with_their_values() {
        let mut ids = RecentIds::new(3000);
        let bytes = ids.current.slots.len();
        for number in 1..=100_000 {
            ids.insert(id(number), (number % 15) as u8);
        }
        assert!((97_001..=100_000).all(|number| ids.get(id(number)) == Some((number % 15) as u8)));
        assert!((1..=90_000).all(|number| ids.get(id(number)).is_none()), "forgets the oldest");
        assert!(
            (100_001..=200_000).all(|number| ids.get(id(number)).is_none()),
            "does not contain other ids"
        );
        assert_eq!((ids.current.slots.len(), ids.previous.slots.len()), (bytes, bytes));
    }

    #[test]
    fn distinguishes_small_ids_and_ids_that_differ_in_one_half() {
        let mut ids = RecentIds::new(1000);
        ids.insert(TraceId(7), 0);
        ids.insert(TraceId(9 << 64 | 1), 6);
        for other in [TraceId(8), TraceId(7 << 64), TraceId(9 << 64 | 2), TraceId(8 << 64 | 1)] {
            assert_eq!(ids.get(other), None, "{other}");
        }
        assert_eq!((ids.get(TraceId(7)), ids.get(TraceId(9 << 64 | 1))), (Some(0), Some(6)));
    }

    #[test]
    fn high_ranks_do_not_form_long_runs() {
        let mut ids = RecentIds::new(30_000);
        let large = (1..).map(id).filter(|id| id.rank() > u64::MAX / 10 * 9);
        large.take(29_000).for_each(|id| ids.insert(id, 1));
        let longest = ids.current.slots.split(|slot| *slot == 0).map(<[u32]>::len).max();
        // A lookup scans one run; one of 30,000 slots would often contain the same 28 bits.
        assert!(longest < Some(1000), "{longest:?}");
    }

    #[test]
    fn reads_the_slots_of_schema_1() {
        let mut ids = RecentIds::new(30);
        (1..=20).for_each(|number| ids.insert(id(number), 4));
        let old = |slot: &u32| if *slot == 0 { 0 } else { slot >> 4 << 4 | 8 | 5 };
        let text = |table: &IdTable| {
            STANDARD.encode(table.slots.iter().flat_map(|slot| old(slot).to_le_bytes()).collect::<Vec<_>>())
        };
        let mut snapshot = RecentIdsSnapshot([text(&ids.current), text(&ids.previous)]);
        snapshot.upgrade();
        let restored = RecentIds::restore(&snapshot).unwrap();
        assert!((1..=30).all(|number| restored.get(id(number)) == ids.get(id(number))));
    }

    #[test]
    fn restores_a_snapshot_and_rejects_a_damaged_one() {
        let mut ids = RecentIds::new(30);
        (1..=50).for_each(|number| ids.insert(id(number), 3));
        let restored = RecentIds::restore(&ids.snapshot()).unwrap();
        assert!((1..=60).all(|number| restored.get(id(number)) == ids.get(id(number))));
        let full = STANDARD.encode([16; 40]);
        for damaged in ["", "AAA=", "no base64", &full] {
            let state = RecentIdsSnapshot([damaged.to_owned(), ids.snapshot().0[1].clone()]);
            assert!(RecentIds::restore(&state).is_none(), "{damaged:?}");
        }
    }
}
