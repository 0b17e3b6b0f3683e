//! The slowest spans of one operation, one of each trace, and whose traces they are.

use crate::store::ExemplarChange;
use crate::trace::TraceId;

/// As many are remembered while there is room for their traces.
const MOST: usize = 128;

#[derive(Debug, Clone)]
pub(super) struct Slowest {
    /// The fastest of them first.
    spans: Vec<(u64, TraceId)>,
    /// How many are remembered.
    limit: usize,
}

impl Default for Slowest {
    fn default() -> Self {
        Self { spans: Vec::new(), limit: MOST }
    }
}

impl Slowest {
    /// Remembers the span if it is among the slowest.
    pub(super) fn offer(&mut self, duration_ns: u64, id: TraceId, changes: &mut Vec<ExemplarChange>) {
        let is_full = self.spans.len() >= self.limit;
        if is_full && self.spans.first().is_none_or(|(fastest, _)| duration_ns <= *fastest) {
            return;
        }
        // One trace may call an operation a thousand times, and must not be all that is remembered.
        let known = self.spans.iter().position(|(_, known)| *known == id);
        if known.is_some_and(|at| self.spans[at].0 >= duration_ns) {
            return;
        }
        match known {
            Some(at) => drop(self.spans.remove(at)),
            None => changes.push(ExemplarChange { trace_id: id, added: true }),
        }
        if known.is_none() && is_full {
            let (_, trace_id) = self.spans.remove(0);
            changes.push(ExemplarChange { trace_id, added: false });
        }
        let place = self.spans.partition_point(|slow| *slow < (duration_ns, id));
        self.spans.insert(place, (duration_ns, id));
    }

    /// What the traces weigh together.
    pub(super) fn weight(&self, weigh: impl Fn(TraceId) -> usize) -> usize {
        self.spans.iter().map(|(_, id)| weigh(*id)).sum()
    }

    /// Forgets the faster half.
    pub(super) fn halve(&mut self, changes: &mut Vec<ExemplarChange>) {
        self.limit = self.spans.len() / 2;
        let faster = self.spans.drain(..self.spans.len() - self.limit);
        changes.extend(faster.map(|(_, trace_id)| ExemplarChange { trace_id, added: false }));
    }

    /// Forgets those of these traces.
    pub(super) fn forget(&mut self, left: &[TraceId]) {
        self.spans.retain(|(_, id)| !left.contains(id));
    }

    /// Remembers some more from now on. Returns whether it could be more still.
    pub(super) fn grow(&mut self) -> bool {
        self.limit = (self.limit + self.limit / 8 + 1).min(MOST);
        self.limit < MOST
    }

    /// The slowest span of all.
    pub(super) fn first(&self) -> Option<(u64, TraceId)> {
        self.spans.last().copied()
    }

    /// The slowest first.
    pub(super) fn all(&self) -> Vec<(u64, TraceId)> {
        self.spans.iter().rev().copied().collect()
    }

    pub(super) fn bytes(&self) -> usize {
        self.spans.capacity() * size_of::<(u64, TraceId)>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_trace_has_one_place_and_changes_add_up() {
        let (mut slowest, mut changes) = (Slowest::default(), Vec::new());
        // A hundred spans of each of three hundred traces, all slower than those of the trace before, in no order.
        for number in 0..30_000_u64 {
            let mixed = number * 7919 % 30_000;
            slowest.offer(mixed, TraceId(u128::from(mixed / 100) + 1), &mut changes);
        }
        let expected: Vec<_> = (173..=300).rev().map(|id| (id * 100 - 1, TraceId(u128::from(id)))).collect();
        assert_eq!(slowest.all(), expected);
        let told = |id: TraceId| {
            let of_it = changes.iter().filter(|change| change.trace_id == id);
            of_it.map(|change| if change.added { 1 } else { -1 }).sum::<i32>()
        };
        for id in (1..=300).map(TraceId) {
            assert_eq!(told(id), i32::from(expected.iter().any(|(_, slow)| *slow == id)), "{id}");
        }
        slowest.forget(&[TraceId(300)]);
        assert_eq!(slowest.first(), Some((29_899, TraceId(299))));
        assert_eq!(slowest.all().len(), 127);
    }

    #[test]
    fn grows_again_after_halving() {
        let (mut slowest, mut changes) = (Slowest::default(), Vec::new());
        (1..=200).for_each(|ns| slowest.offer(ns, TraceId(u128::from(ns)), &mut changes));
        changes.clear();
        slowest.halve(&mut changes);
        assert_eq!((slowest.all().len(), changes.len()), (64, 64));
        slowest.offer(1, TraceId(1000), &mut changes);
        assert_eq!((slowest.all().len(), changes.len()), (64, 64));
        assert!(slowest.grow());
        slowest.offer(1, TraceId(1000), &mut changes);
        assert_eq!((slowest.all().len(), changes.len()), (65, 65));
    }
}
