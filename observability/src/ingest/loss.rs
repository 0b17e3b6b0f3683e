//! What exporters say they had to drop: spans named `spans dropped` that link to the traces concerned.

use std::collections::BTreeMap;

use opentelemetry_proto::tonic::common::v1::InstrumentationScope;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::Span;

use super::{text, value};
use crate::span::TraceId;
use crate::store::RecentIds;

/// Traces with a reported loss that are remembered; 18 bytes each at most.
const REMEMBERED: usize = 1 << 18;

/// Senders and reasons told apart; further ones count under the last.
const MAX_SENDERS: usize = 100;

/// The reports so far.
#[derive(Debug)]
pub(crate) struct Losses {
    traces: RecentIds,
    spans: BTreeMap<(String, String), u64>,
}

impl Default for Losses {
    fn default() -> Self {
        Self { traces: RecentIds::new(REMEMBERED), spans: BTreeMap::new() }
    }
}

impl Losses {
    pub(super) fn record(&mut self, service: &str, report: &Span) {
        for link in &report.links {
            if let Some(id) = TraceId::from_bytes(&link.trace_id) {
                self.traces.insert(id);
            }
        }
        let count = match value(&report.attributes, "otel.dropped.count") {
            Some(Value::IntValue(count)) => u64::try_from(*count).unwrap_or(0),
            _ => 0,
        };
        let reason = text(&report.attributes, "otel.dropped.reason").unwrap_or("unknown");
        let mut key = (service.to_owned(), reason.to_owned());
        if self.spans.len() >= MAX_SENDERS && !self.spans.contains_key(&key) {
            key = ("other".to_owned(), "unknown".to_owned());
        }
        *self.spans.entry(key).or_default() += count;
    }

    /// Whether an exporter reported that it dropped spans of this trace.
    pub(crate) fn names(&self, id: TraceId) -> bool {
        self.traces.contains(id)
    }

    /// Spans dropped, by service and reason.
    pub(crate) fn spans(&self) -> impl Iterator<Item = ((&str, &str), u64)> {
        self.spans.iter().map(|((service, reason), count)| ((service.as_str(), reason.as_str()), *count))
    }
}

pub(super) fn may_report(scope: &InstrumentationScope) -> bool {
    scope.name == "observability.telemetry"
}

pub(super) fn is_report(span: &Span) -> bool {
    span.name == "spans dropped"
}
