//! The order of a trace's spans on a page: each below its parent, siblings by their start.
//!
//! Every span is there once, whatever its sender said of parents: one whose parent never came stands at the left, and
//! of spans whose parents go in a circle the earliest does.

use crate::trace::Trace;

/// A span and where it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Row {
    /// Index into the trace's spans.
    pub(super) span: usize,
    /// How many ancestors it has here.
    pub(super) depth: usize,
    pub(super) place: Place,
}

/// Why a span stands where it does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// It has no parent.
    Root,
    /// Below its parent.
    Child,
    /// Its parent is not in the trace.
    Orphan,
    /// It is its own ancestor.
    Circle,
}

/// All spans, the trace's root first.
pub(super) fn rows(trace: &Trace) -> Vec<Row> {
    let positions = trace.positions();
    let mut by_start: Vec<usize> = (0..trace.spans.len()).collect();
    by_start.sort_by_key(|&index| trace.spans[index].start_ns);
    let (mut children, mut tops) = (vec![Vec::new(); trace.spans.len()], Vec::new());
    for &index in &by_start {
        match trace.spans[index].parent.map(|parent| positions.get(&parent)) {
            None => tops.push((index, Place::Root)),
            Some(None) => tops.push((index, Place::Orphan)),
            Some(Some(&parent)) => children[parent].push(index),
        }
    }
    let root = trace.root();
    tops.sort_by_key(|&(index, _)| Some(index) != root);
    let mut order = Order { children, seen: vec![false; trace.spans.len()], rows: Vec::new() };
    for (top, place) in tops {
        order.add(top, place);
    }
    // Whatever hangs from no top hangs from a circle.
    for index in by_start {
        order.add(index, Place::Circle);
    }
    order.rows
}

struct Order {
    children: Vec<Vec<usize>>,
    seen: Vec<bool>,
    rows: Vec<Row>,
}

impl Order {
    /// Adds a span and all below it that is not there yet. A stack of our own: traces can be deep.
    fn add(&mut self, top: usize, place: Place) {
        let mut pending = vec![Row { span: top, depth: 0, place }];
        while let Some(row) = pending.pop() {
            if std::mem::replace(&mut self.seen[row.span], true) {
                continue;
            }
            self.rows.push(row);
            let below = |&span: &usize| Row { span, depth: row.depth + 1, place: Place::Child };
            pending.extend(self.children[row.span].iter().rev().map(below));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::span;

    /// Id, depth and place of each row.
    fn order(spans: &[(u64, u64, u64, u64)]) -> Vec<(u64, usize, Place)> {
        let trace = Trace { spans: spans.iter().copied().map(span).collect() };
        rows(&trace).iter().map(|row| (trace.spans[row.span].span_id.0, row.depth, row.place)).collect()
    }

    #[test]
    fn children_stand_below_their_parent_by_their_start() {
        use Place::{Child, Root};
        let spans = [(4, 2, 6, 7), (3, 1, 8, 9), (2, 1, 5, 8), (1, 0, 4, 10)];
        assert_eq!(order(&spans), [(1, 0, Root), (2, 1, Child), (4, 2, Child), (3, 1, Child)]);
    }

    #[test]
    fn orphans_come_after_the_root_however_early_they_are() {
        let spans = [(7, 99, 0, 1), (8, 7, 0, 1), (1, 0, 5, 9)];
        assert_eq!(order(&spans), [(1, 0, Place::Root), (7, 0, Place::Orphan), (8, 1, Place::Child)]);
    }

    #[test]
    fn circles_are_shown_from_their_earliest_span() {
        let spans = [(1, 2, 5, 9), (2, 1, 4, 9), (3, 1, 6, 7), (4, 4, 8, 9)];
        let expected =
            [(2, 0, Place::Circle), (1, 1, Place::Child), (3, 2, Place::Child), (4, 0, Place::Circle)];
        assert_eq!(order(&spans), expected);
    }

    #[test]
    fn two_spans_with_one_id_are_both_there() {
        let spans = [(1, 0, 0, 9), (2, 1, 1, 2), (2, 1, 3, 4), (3, 2, 3, 4)];
        let expected =
            [(1, 0, Place::Root), (2, 1, Place::Child), (3, 2, Place::Child), (2, 1, Place::Child)];
        assert_eq!(order(&spans), expected);
    }

    #[test]
    fn a_deep_trace_needs_no_deep_stack() {
        let spans: Vec<_> = (1..=100_000).map(|id| (id, id - 1, id, 200_000)).collect();
        assert_eq!(order(&spans).last(), Some(&(100_000, 99_999, Place::Child)));
    }
}
