//! The rows of a waterfall: each span below its parent, siblings by their start.
//!
//! Every span has exactly one row. A span whose parent is missing has depth 0, and so has the earliest span of a cycle of parents.

use crate::trace::{Hierarchy, Parent, Trace};

/// A span and its position in the waterfall.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Row {
    /// Index into the trace's spans.
    pub span: usize,
    /// Number of ancestors in the waterfall.
    pub depth: usize,
    /// Reason for the position.
    pub placement: Placement,
}

/// Reason for the position of a span.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Placement {
    /// The span has no parent.
    Root,
    /// The span is below its parent.
    Child,
    /// The parent is not in the trace.
    Orphan,
    /// The span is its own ancestor.
    Cycle,
}

/// Returns a row for each span, the root's first.
pub fn rows(trace: &Trace) -> Vec<Row> {
    let hierarchy = Hierarchy::of(trace);
    let mut by_start: Vec<usize> = (0..trace.spans.len()).collect();
    by_start.sort_by_key(|&index| trace.spans[index].start_ns);
    let (mut children, mut tops) = (vec![Vec::new(); trace.spans.len()], Vec::new());
    for &index in &by_start {
        match hierarchy.parent(index) {
            Parent::None => tops.push((index, Placement::Root)),
            Parent::Missing => tops.push((index, Placement::Orphan)),
            Parent::At(parent) => children[parent].push(index),
        }
    }
    let root = trace.root();
    tops.sort_by_key(|&(index, _)| Some(index) != root);
    let mut order = Order { children, seen: vec![false; trace.spans.len()], rows: Vec::new() };
    for (top, placement) in tops {
        order.add(top, placement);
    }
    // The remaining spans descend from a cycle.
    for index in by_start {
        order.add(index, Placement::Cycle);
    }
    order.rows
}

struct Order {
    children: Vec<Vec<usize>>,
    seen: Vec<bool>,
    rows: Vec<Row>,
}

impl Order {
    /// Adds a span and its descendants, unless they are present already. Iterative, because traces can be deep.
    fn add(&mut self, top: usize, placement: Placement) {
        let mut pending = vec![Row { span: top, depth: 0, placement }];
        while let Some(row) = pending.pop() {
            if std::mem::replace(&mut self.seen[row.span], true) {
                continue;
            }
            self.rows.push(row);
            let below = |&span: &usize| Row { span, depth: row.depth + 1, placement: Placement::Child };
            pending.extend(self.children[row.span].iter().rev().map(below));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::span;

    /// Returns id, depth and placement of each row.
    fn order(spans: &[(u64, u64, u64, u64)]) -> Vec<(u64, usize, Placement)> {
        let trace = Trace { spans: spans.iter().copied().map(span).collect() };
        rows(&trace).iter().map(|row| (trace.spans[row.span].span_id.0, row.depth, row.placement)).collect()
    }

    #[test]
    fn orders_children_below_their_parent_by_their_start() {
        use Placement::{Child, Root};
        let spans = [(4, 2, 6, 7), (3, 1, 8, 9), (2, 1, 5, 8), (1, 0, 4, 10)];
        assert_eq!(order(&spans), [(1, 0, Root), (2, 1, Child), (4, 2, Child), (3, 1, Child)]);
    }

    #[test]
    fn orphans_follow_the_root() {
        let spans = [(7, 99, 0, 1), (8, 7, 0, 1), (1, 0, 5, 9)];
        assert_eq!(
            order(&spans),
            [(1, 0, Placement::Root), (7, 0, Placement::Orphan), (8, 1, Placement::Child)]
        );
    }

    #[test]
    fn a_cycle_begins_with_its_earliest_span() {
        let spans = [(1, 2, 5, 9), (2, 1, 4, 9), (3, 1, 6, 7), (4, 4, 8, 9)];
        let expected = [
            (2, 0, Placement::Cycle),
            (1, 1, Placement::Child),
            (3, 2, Placement::Child),
            (4, 0, Placement::Cycle),
        ];
        assert_eq!(order(&spans), expected);
    }

    #[test]
    fn spans_with_the_same_id_have_a_row_each() {
        let spans = [(1, 0, 0, 9), (2, 1, 1, 2), (2, 1, 3, 4), (3, 2, 3, 4)];
        let expected = [
            (1, 0, Placement::Root),
            (2, 1, Placement::Child),
            (3, 2, Placement::Child),
            (2, 1, Placement::Child),
        ];
        assert_eq!(order(&spans), expected);
    }

    #[test]
    fn orders_a_trace_of_100_000_levels() {
        let spans: Vec<_> = (1..=100_000).map(|id| (id, id - 1, id, 200_000)).collect();
        assert_eq!(order(&spans).last(), Some(&(100_000, 99_999, Placement::Child)));
    }
}
