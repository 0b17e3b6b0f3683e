//! A trace as rows: each span below its parent, at its place in time.

use std::collections::HashMap;

use collector::blame::critical_path::critical_path;
use collector::trace::{SpanId, Trace};

/// One span.
#[derive(Debug, PartialEq)]
pub(super) struct Row {
    /// Spans above it.
    pub(super) depth: usize,
    /// `service.name`.
    pub(super) service: String,
    /// Span name.
    pub(super) operation: String,
    /// From the start of the trace.
    pub(super) start_us: f64,
    /// How long it took.
    pub(super) took_us: f64,
    /// The part of that which the root's latency is made of.
    pub(super) path_us: f64,
    /// Whether it failed.
    pub(super) error: bool,
}

/// A trace, laid out.
pub(super) struct Waterfall {
    /// Parents before children, siblings by start.
    pub(super) rows: Vec<Row>,
    /// From the first start to the last end, at least a nanosecond.
    pub(super) length_us: f64,
}

impl Waterfall {
    /// Lays a trace out. Spans whose parent never came stand at depth 0.
    pub(super) fn of(trace: &Trace) -> Self {
        let positions = trace.positions();
        let start = trace.spans.iter().map(|span| span.start_ns).min().unwrap_or_default();
        let end = trace.spans.iter().map(|span| span.end_ns).max().unwrap_or_default();
        let mut children: HashMap<Option<SpanId>, Vec<usize>> = HashMap::new();
        for (index, span) in trace.spans.iter().enumerate() {
            let parent = span.parent.filter(|parent| positions.contains_key(parent));
            children.entry(parent).or_default().push(index);
        }
        for siblings in children.values_mut() {
            // The first to start stands on top, which is last on the stack below.
            siblings.sort_by_key(|&index| std::cmp::Reverse(trace.spans[index].start_ns));
        }
        let mut path = vec![0; trace.spans.len()];
        for segment in critical_path(trace) {
            path[segment.span] += segment.end_ns - segment.start_ns;
        }
        let mut pending: Vec<(usize, usize)> =
            children.remove(&None).unwrap_or_default().into_iter().map(|index| (index, 0)).collect();
        let mut rows = Vec::new();
        while let Some((index, depth)) = pending.pop() {
            let span = &trace.spans[index];
            rows.push(Row {
                depth,
                service: span.service().to_owned(),
                operation: span.name.clone(),
                start_us: (span.start_ns - start) as f64 / 1e3,
                took_us: span.duration_ns() as f64 / 1e3,
                path_us: path[index] as f64 / 1e3,
                error: span.is_error(),
            });
            let below = children.remove(&Some(span.span_id)).unwrap_or_default();
            pending.extend(below.into_iter().map(|child| (child, depth + 1)));
        }
        Waterfall { rows, length_us: (end.saturating_sub(start)).max(1) as f64 / 1e3 }
    }
}
