//! The ids of many traces, in few bytes and never too many of them.

use std::collections::HashSet;

use crate::span::TraceId;

/// Remembers at least the last `generation` ids and at most twice as many, by 64 of their 128 bits: that two of
/// a million share them has a chance of one in 37 million for ids that are random, as they should be.
#[derive(Debug)]
pub(crate) struct RecentIds {
    generation: usize,
    current: HashSet<u64>,
    previous: HashSet<u64>,
}

impl RecentIds {
    pub(crate) fn new(generation: usize) -> Self {
        Self { generation, current: HashSet::new(), previous: HashSet::new() }
    }

    pub(crate) fn insert(&mut self, id: TraceId) {
        if self.current.len() >= self.generation {
            self.previous = std::mem::take(&mut self.current);
        }
        self.current.insert(fold(id));
    }

    pub(crate) fn contains(&self, id: TraceId) -> bool {
        let id = fold(id);
        self.current.contains(&id) || self.previous.contains(&id)
    }
}

fn fold(TraceId(id): TraceId) -> u64 {
    // Multiplied, so that swapped and equal halves do not cancel out.
    (id >> 64) as u64 ^ (id as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_are_remembered_and_the_number_is_bounded() {
        let mut ids = RecentIds::new(1000);
        for id in 1..=10_000 {
            ids.insert(TraceId(id << 64 | id));
            assert!(ids.current.len() + ids.previous.len() <= 2000);
        }
        assert!((9001..=10_000).all(|id| ids.contains(TraceId(id << 64 | id))));
        assert!(!ids.contains(TraceId(1 << 64 | 1)), "the oldest are forgotten");
        assert!(!ids.contains(TraceId(10_001)));
    }

    #[test]
    fn small_numbers_and_ids_that_differ_in_one_half_are_told_apart() {
        let mut ids = RecentIds::new(1000);
        ids.insert(TraceId(7));
        ids.insert(TraceId(9 << 64 | 1));
        for other in [TraceId(8), TraceId(7 << 64), TraceId(9 << 64 | 2), TraceId(8 << 64 | 1)] {
            assert!(!ids.contains(other), "{other}");
        }
        assert!(ids.contains(TraceId(7)) && ids.contains(TraceId(9 << 64 | 1)));
    }
}
