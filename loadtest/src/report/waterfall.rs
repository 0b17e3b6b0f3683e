//! A trace as rows: each span below its parent, at its place in time.

use collector::blame::critical_path::critical_path;
use collector::blame::waterfall;
use collector::trace::Trace;

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
    /// Lays out a trace.
    pub(super) fn of(trace: &Trace) -> Self {
        let start = trace.spans.iter().map(|span| span.start_ns).min().unwrap_or_default();
        let end = trace.spans.iter().map(|span| span.end_ns).max().unwrap_or_default();
        let mut path = vec![0; trace.spans.len()];
        for segment in critical_path(trace) {
            path[segment.span] += segment.end_ns - segment.start_ns;
        }
        let row = |row: waterfall::Row| {
            let span = &trace.spans[row.span];
            Row {
                depth: row.depth,
                service: span.service().to_owned(),
                operation: span.name.clone(),
                start_us: (span.start_ns - start) as f64 / 1e3,
                took_us: span.duration_ns() as f64 / 1e3,
                path_us: path[row.span] as f64 / 1e3,
                error: span.is_error(),
            }
        };
        let rows = waterfall::rows(trace).into_iter().map(row).collect();
        Waterfall { rows, length_us: (end.saturating_sub(start)).max(1) as f64 / 1e3 }
    }
}
