//! The slowest spans of one operation, and whose traces they are.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::span::TraceId;
use crate::store::Change;

/// As many are remembered while there is room for their traces.
const MOST: usize = 128;

/// The fastest of them on top.
#[derive(Debug)]
pub(super) struct Slowest {
    spans: BinaryHeap<Reverse<(u64, TraceId)>>,
    /// How many are remembered.
    limit: usize,
}

impl Default for Slowest {
    fn default() -> Self {
        Self { spans: BinaryHeap::new(), limit: MOST }
    }
}

impl Slowest {
    /// Remembers the span if it is among the slowest.
    pub(super) fn offer(&mut self, duration_ns: u64, id: TraceId, changes: &mut Vec<Change>) {
        if self.spans.len() < self.limit {
            self.spans.push(Reverse((duration_ns, id)));
        } else if let Some(mut fastest) = self.spans.peek_mut()
            && fastest.0.0 < duration_ns
        {
            changes.push(Change { trace_id: fastest.0.1, telling: false });
            *fastest = Reverse((duration_ns, id));
        } else {
            return;
        }
        changes.push(Change { trace_id: id, telling: true });
    }

    /// What the traces weigh together.
    pub(super) fn weight(&self, weigh: impl Fn(TraceId) -> usize) -> usize {
        self.spans.iter().map(|Reverse((_, id))| weigh(*id)).sum()
    }

    /// Forgets the faster half.
    pub(super) fn halve(&mut self, changes: &mut Vec<Change>) {
        self.limit = self.spans.len() / 2;
        while self.spans.len() > self.limit
            && let Some(Reverse((_, trace_id))) = self.spans.pop()
        {
            changes.push(Change { trace_id, telling: false });
        }
    }

    /// Remembers some more from now on. Returns whether it could be more still.
    pub(super) fn grow(&mut self) -> bool {
        self.limit = (self.limit + self.limit / 8 + 1).min(MOST);
        self.limit < MOST
    }

    /// The slowest span of all.
    pub(super) fn first(&self) -> Option<(u64, TraceId)> {
        self.spans.iter().map(|Reverse(slow)| *slow).max()
    }

    /// The slowest first.
    pub(super) fn all(&self) -> Vec<(u64, TraceId)> {
        let mut all: Vec<_> = self.spans.iter().map(|Reverse(slow)| *slow).collect();
        all.sort_unstable_by(|a, b| b.cmp(a));
        all
    }

    pub(super) fn bytes(&self) -> usize {
        self.spans.capacity() * size_of::<(u64, TraceId)>()
    }
}
