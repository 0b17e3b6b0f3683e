//! The data model: spans as OTLP describes them, and traces as the spans that share an id.
//!
//! Times are nanoseconds since the Unix epoch. No field that a sender set is dropped or reordered here.

mod id;
mod span;
mod hierarchy;

use std::collections::HashMap;

pub use hierarchy::{Hierarchy, Parent};
pub use id::{ParseIdError, SpanId, TraceGroup, TraceId};
pub use span::{Attribute, EntityRef, Event, Kind, Link, Resource, Scope, Span, Status, StatusCode, Value};
pub(crate) use span::{
    EMPTY_SERVICE, EMPTY_SPAN_NAME, LATEST_NS, MISSING_SERVICE, SERVICE_OF_WRONG_TYPE, duration_ns,
};

/// The spans of one trace, in the order of arrival.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Trace {
    /// The spans.
    pub spans: Vec<Span>,
}

impl Trace {
    /// Returns the id of the trace; `None` without spans.
    pub fn id(&self) -> Option<TraceId> {
        self.spans.first().map(|span| span.trace_id)
    }

    /// Returns the position of each span id; of duplicate ids, that of the first span.
    pub fn positions(&self) -> HashMap<SpanId, usize> {
        let mut positions = HashMap::with_capacity(self.spans.len());
        for (index, span) in self.spans.iter().enumerate() {
            positions.entry(span.span_id).or_insert(index);
        }
        positions
    }

    /// Returns the earliest start and the latest end of the spans that have a start. `(0, 0)` if none has.
    pub fn extent_ns(&self) -> (u64, u64) {
        extent_ns(self.spans.iter().map(|span| (span.start_ns, span.end_ns)))
    }

    /// Sets times after the year 2262 to 0, and ends without a start, for pictures and sums.
    pub(crate) fn clear_impossible_times(&mut self) {
        for span in &mut self.spans {
            if span.start_ns > LATEST_NS {
                span.start_ns = 0;
            }
            if span.start_ns == 0 || span.end_ns > LATEST_NS {
                span.end_ns = 0;
            }
        }
    }

    /// Returns the position of the root: the earliest span without a parent or, if there is none, the earliest whose
    /// parent is missing. A span without a start counts as the latest. `None` without spans, and if the parents form a cycle.
    pub fn root(&self) -> Option<usize> {
        let hierarchy = Hierarchy::of(self);
        let earliest = |wanted: Parent| {
            let candidates = (0..self.spans.len()).filter(|&index| hierarchy.parent(index) == wanted);
            // 0 becomes the maximum.
            candidates.min_by_key(|&index| self.spans[index].start_ns.wrapping_sub(1))
        };
        earliest(Parent::None).or_else(|| earliest(Parent::Missing))
    }
}

/// Returns the earliest start and the latest end of spans, given as (start, end), that have a start. `(0, 0)` if none has.
pub(crate) fn extent_ns(spans: impl Iterator<Item = (u64, u64)>) -> (u64, u64) {
    let started = spans.filter(|(start_ns, _)| (1..=LATEST_NS).contains(start_ns));
    let extent = started.fold(None, |extent, (start_ns, end_ns)| {
        // If a clock stepped back, a span can start after all ends.
        let end_ns = start_ns + duration_ns(start_ns, end_ns);
        let (first, last) = extent.unwrap_or((start_ns, end_ns));
        Some((start_ns.min(first), end_ns.max(last)))
    });
    extent.unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::span;

    fn root(spans: &[(u64, u64, u64, u64)]) -> Option<usize> {
        Trace { spans: spans.iter().copied().map(span).collect() }.root()
    }

    #[test]
    fn the_root_is_the_earliest_span_without_a_parent() {
        assert_eq!(root(&[(2, 1, 0, 9), (1, 0, 5, 6), (3, 0, 4, 6)]), Some(2));
    }

    #[test]
    fn spans_without_a_start_neither_stretch_the_trace_nor_become_its_root() {
        let trace = Trace { spans: [(1, 0, 0, 3), (2, 0, 70, 90), (3, 2, 75, 95)].map(span).into() };
        assert_eq!((trace.root(), trace.extent_ns()), (Some(1), (70, 95)));
        let unset = Trace { spans: vec![span((1, 0, 0, 3))] };
        assert_eq!((unset.root(), unset.extent_ns()), (Some(0), (0, 0)));
    }

    #[test]
    fn otherwise_the_root_is_the_earliest_span_whose_parent_is_missing() {
        assert_eq!(root(&[(3, 2, 1, 9), (2, 1, 5, 6), (4, 7, 6, 8)]), Some(1));
        assert_eq!(root(&[(1, 2, 0, 1), (2, 1, 0, 1)]), None, "cycle of parents");
        assert_eq!(root(&[]), None);
    }
}
