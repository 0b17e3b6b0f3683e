//! A trace as rows: each span below its parent, with its position in time.

use collector::blame::critical_path::critical_path;
use collector::blame::waterfall;
use collector::trace::{Trace, Value};
use telemetry::contract;

/// A gap shorter than the trace divided by this number is not shown.
const MIN_GAP: u64 = 40;

/// One span.
#[derive(Debug, PartialEq)]
pub(super) struct Row {
    /// Number of ancestors.
    pub(super) depth: usize,
    /// `service.name`.
    pub(super) service: String,
    /// Span name.
    pub(super) operation: String,
    /// Start, relative to the start of the trace.
    pub(super) start_us: f64,
    /// Duration of the span.
    pub(super) duration_us: f64,
    /// Part of the duration that lies on the critical path.
    pub(super) path_us: f64,
    /// Whether the span failed.
    pub(super) error: bool,
    /// The gap before the span, if it is long enough to be visible.
    pub(super) gap: Option<GapRow>,
}

/// The time before an asynchronous step.
#[derive(Debug, PartialEq)]
pub(super) struct GapRow {
    /// Cause of the gap.
    pub(super) label: &'static str,
    /// Start, relative to the start of the trace.
    pub(super) start_us: f64,
    /// Length of the gap.
    pub(super) duration_us: f64,
}

/// The rows of a trace and its length.
pub(super) struct Waterfall {
    /// Rows; parents before children, siblings by start.
    pub(super) rows: Vec<Row>,
    /// Time from the first start to the last end, at least 1 ns.
    pub(super) length_us: f64,
    /// Whether the request was meant to be refused, and was.
    pub(super) intended_refusal: bool,
}

impl Waterfall {
    /// Returns the rows of a trace.
    pub(super) fn of(trace: &Trace) -> Self {
        let (start, end) = trace.extent_ns();
        let length_ns = (end - start).max(1);
        let mut gaps = waterfall::gaps(trace);
        gaps.retain(|_, gap| gap.duration_ns() >= length_ns / MIN_GAP);
        let mut path = vec![0; trace.spans.len()];
        for segment in critical_path(trace) {
            path[segment.span] += segment.end_ns - segment.start_ns;
        }
        let row = |row: waterfall::Row| {
            let span = &trace.spans[row.span];
            Row {
                depth: row.depth,
                service: span.service().to_owned(),
                operation: span.operation().to_owned(),
                start_us: span.start_ns.saturating_sub(start) as f64 / 1e3,
                duration_us: span.duration_ns() as f64 / 1e3,
                path_us: path[row.span] as f64 / 1e3,
                error: span.is_error(),
                gap: gaps.get(&row.span).map(|gap| GapRow {
                    label: gap.cause.as_str(),
                    start_us: (gap.start_ns - start) as f64 / 1e3,
                    duration_us: gap.duration_ns() as f64 / 1e3,
                }),
            }
        };
        let rows = waterfall::rows(trace).into_iter().map(row).collect();
        let root = trace.root().map(|root| &trace.spans[root]);
        let intended_refusal =
            root.is_some_and(|root| root.attribute(contract::INTENDED_REFUSAL) == Some(&Value::Bool(true)));
        Waterfall { rows, length_us: length_ns as f64 / 1e3, intended_refusal }
    }
}
