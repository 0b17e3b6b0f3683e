//! The slowest spans of one operation, at most one per trace.

use crate::store::ExemplarChange;
use crate::trace::TraceId;

/// Maximum number of spans while their traces fit in the store.
const MAX_SPANS: usize = 128;

#[derive(Debug, Clone)]
pub(super) struct Slowest {
    /// In ascending order of duration.
    spans: Vec<(u64, TraceId)>,
    /// Current maximum number of spans.
    limit: usize,
}

impl Default for Slowest {
    fn default() -> Self {
        Self { spans: Vec::new(), limit: MAX_SPANS }
    }
}

impl Slowest {
    /// Adds the span if it is among the slowest.
    pub(super) fn offer(&mut self, duration_ns: u64, id: TraceId, changes: &mut Vec<ExemplarChange>) {
        let is_full = self.spans.len() >= self.limit;
        if is_full && self.spans.first().is_none_or(|(fastest, _)| duration_ns <= *fastest) {
            return;
        }
        // One trace may call an operation many times, and should take one place.
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

    /// Returns the total size of the traces.
    pub(super) fn trace_bytes(&self, bytes_of: impl Fn(TraceId) -> usize) -> usize {
        self.spans.iter().map(|(_, id)| bytes_of(*id)).sum()
    }

    /// Removes the faster half.
    pub(super) fn halve(&mut self, changes: &mut Vec<ExemplarChange>) {
        self.limit = self.spans.len() / 2;
        let faster = self.spans.drain(..self.spans.len() - self.limit);
        changes.extend(faster.map(|(_, trace_id)| ExemplarChange { trace_id, added: false }));
    }

    /// Removes these traces.
    pub(super) fn remove(&mut self, evicted: &[TraceId]) {
        self.spans.retain(|(_, id)| !evicted.contains(id));
    }

    /// Raises the maximum. Returns whether it is still below [`MAX_SPANS`].
    pub(super) fn grow(&mut self) -> bool {
        self.limit = (self.limit + self.limit / 8 + 1).min(MAX_SPANS);
        self.limit < MAX_SPANS
    }

    /// Returns the slowest span.
    pub(super) fn first(&self) -> Option<(u64, TraceId)> {
        self.spans.last().copied()
    }

    /// Returns all spans, the slowest first.
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
        // 100 spans of each of 300 traces; the durations of each trace exceed those of the previous one. Shuffled.
        for number in 0..30_000_u64 {
            let mixed = number * 7919 % 30_000;
            slowest.offer(mixed, TraceId(u128::from(mixed / 100) + 1), &mut changes);
        }
        let expected: Vec<_> = (173..=300).rev().map(|id| (id * 100 - 1, TraceId(u128::from(id)))).collect();
        assert_eq!(slowest.all(), expected);
        let balance = |id: TraceId| {
            let of_it = changes.iter().filter(|change| change.trace_id == id);
            of_it.map(|change| if change.added { 1 } else { -1 }).sum::<i32>()
        };
        for id in (1..=300).map(TraceId) {
            assert_eq!(balance(id), i32::from(expected.iter().any(|(_, slow)| *slow == id)), "{id}");
        }
        slowest.remove(&[TraceId(300)]);
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
