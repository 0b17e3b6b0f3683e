//! Counts the spans that this process dropped and reports them, as [`contract`] describes.

use std::collections::HashSet;
use std::time::SystemTime;

use opentelemetry::trace::{Link, SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceId, TraceState};
use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_sdk::trace::{IdGenerator as _, RandomIdGenerator, SpanData, SpanEvents, SpanLinks};

use crate::contract::{self, DropReason};

/// Maximum number of traces in one report. Spans of further traces are only counted.
const MAX_TRACES: usize = 100_000;
/// Default limit of links in one span, by the specification.
const LINKS_PER_SPAN: usize = 128;

#[derive(Debug, Default)]
pub(super) struct DroppedSpans {
    queue_full: Dropped,
    export_failed: Dropped,
}

#[derive(Debug, Default)]
struct Dropped {
    spans: u64,
    traces: HashSet<TraceId>,
}

impl DroppedSpans {
    pub(super) fn record(&mut self, reason: DropReason, trace: TraceId) {
        let loss = match reason {
            DropReason::QueueFull => &mut self.queue_full,
            DropReason::ExportFailed => &mut self.export_failed,
        };
        loss.spans += 1;
        if loss.traces.len() < MAX_TRACES {
            loss.traces.insert(trace);
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.queue_full.spans + self.export_failed.spans == 0
    }

    /// Adds the contents of a report that could not be sent.
    pub(super) fn merge(&mut self, unsent: DroppedSpans) {
        self.queue_full.merge(unsent.queue_full);
        self.export_failed.merge(unsent.export_failed);
    }

    /// Returns the spans of the report.
    pub(super) fn report(&self) -> Vec<SpanData> {
        let mut spans = self.queue_full.spans(DropReason::QueueFull);
        spans.extend(self.export_failed.spans(DropReason::ExportFailed));
        spans
    }
}

impl Dropped {
    fn merge(&mut self, unsent: Dropped) {
        self.spans += unsent.spans;
        self.traces.extend(unsent.traces);
    }

    /// Returns spans of up to 128 links each. The first has the count, the others 0, so that the counts of a report add up.
    fn spans(&self, reason: DropReason) -> Vec<SpanData> {
        let traces: Vec<TraceId> = self.traces.iter().copied().collect();
        let counts = std::iter::once(self.spans).chain(std::iter::repeat(0));
        traces
            .chunks(LINKS_PER_SPAN)
            .zip(counts)
            .map(|(traces, count)| report_span(reason, count, traces))
            .collect()
    }
}

fn report_span(reason: DropReason, count: u64, traces: &[TraceId]) -> SpanData {
    let ids = RandomIdGenerator::default();
    let now = SystemTime::now();
    let mut links = SpanLinks::default();
    links.links = traces.iter().map(|trace| link(*trace, ids.new_span_id())).collect();
    SpanData {
        span_context: context(ids.new_trace_id(), ids.new_span_id()),
        parent_span_id: SpanId::INVALID,
        parent_span_is_remote: false,
        span_kind: SpanKind::Internal,
        name: contract::LOSS_REPORT.into(),
        start_time: now,
        end_time: now,
        attributes: vec![
            KeyValue::new(contract::DROPPED_COUNT, i64::try_from(count).unwrap_or(i64::MAX)),
            KeyValue::new(contract::DROPPED_REASON, reason.as_str()),
        ],
        dropped_attributes_count: 0,
        events: SpanEvents::default(),
        links,
        status: Status::Unset,
        instrumentation_scope: InstrumentationScope::builder(contract::LOSS_SCOPE).build(),
    }
}

/// Returns a link to `trace`. The id of the dropped span is not kept; `span` only makes the link valid.
fn link(trace: TraceId, span: SpanId) -> Link {
    Link::new(context(trace, span), Vec::new(), 0)
}

fn context(trace: TraceId, span: SpanId) -> SpanContext {
    SpanContext::new(trace, span, TraceFlags::SAMPLED, false, TraceState::NONE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reports_each_trace_once_and_counts_every_span() {
        let mut dropped = DroppedSpans::default();
        for n in 0..300u128 {
            dropped.record(DropReason::QueueFull, TraceId::from(n % 200 + 1));
        }
        dropped.record(DropReason::ExportFailed, TraceId::from(7));
        let spans = dropped.report();
        assert_eq!(spans.len(), 3, "200 traces in spans of at most 128 links, and one for the failed export");
        let linked: usize = spans.iter().map(|span| span.links.len()).sum();
        assert_eq!(linked, 201);
        let counted: i64 = spans
            .iter()
            .map(|span| match span.attributes[0].value {
                opentelemetry::Value::I64(count) => count,
                _ => 0,
            })
            .sum();
        assert_eq!(counted, 301);
    }
}
