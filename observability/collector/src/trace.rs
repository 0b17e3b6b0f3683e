//! The data model: spans as OTLP describes them, and traces as the spans that share an id.
//!
//! Times are nanoseconds since the Unix epoch. No field that a sender set is dropped or reordered here.

mod id;
mod span;

use std::collections::HashMap;

pub use id::{ParseIdError, SpanId, TraceId};
pub(crate) use span::UNKNOWN_SERVICE;
pub use span::{Attribute, Event, Kind, Link, Resource, Scope, Span, Status, StatusCode, Value};

/// Spans of one trace, in the order in which they arrived.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Trace {
    /// The spans.
    pub spans: Vec<Span>,
}

impl Trace {
    /// The id of the trace; `None` if it has no spans.
    pub fn id(&self) -> Option<TraceId> {
        self.spans.first().map(|span| span.trace_id)
    }

    /// Where each span id is found; of two spans with one id, the one that arrived first.
    pub fn positions(&self) -> HashMap<SpanId, usize> {
        let mut positions = HashMap::with_capacity(self.spans.len());
        for (index, span) in self.spans.iter().enumerate() {
            positions.entry(span.span_id).or_insert(index);
        }
        positions
    }

    /// The span that everything else happened for: the earliest without a parent, and if all have one, the
    /// earliest whose parent never came. `None` for a trace without spans and for parents in a circle.
    pub fn root(&self) -> Option<usize> {
        let positions = self.positions();
        let earliest = |indices: &mut dyn Iterator<Item = usize>| {
            indices.min_by_key(|&index| self.spans[index].start_ns)
        };
        let all = 0..self.spans.len();
        earliest(&mut all.clone().filter(|&index| self.spans[index].parent.is_none())).or_else(|| {
            earliest(&mut all.filter(|&index| {
                self.spans[index].parent.is_some_and(|parent| !positions.contains_key(&parent))
            }))
        })
    }
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
    fn otherwise_the_root_is_the_earliest_span_whose_parent_is_missing() {
        assert_eq!(root(&[(3, 2, 1, 9), (2, 1, 5, 6), (4, 7, 6, 8)]), Some(1));
        assert_eq!(root(&[(1, 2, 0, 1), (2, 1, 0, 1)]), None, "parents in a circle");
        assert_eq!(root(&[]), None);
    }
}
