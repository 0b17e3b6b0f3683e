//! Losses that exporters report: spans named [`contract::LOSS_REPORT`] that link to the affected traces.

use std::collections::BTreeMap;

use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message as _;
use telemetry::contract;

use crate::store::validate;
use crate::store::{RecentIds, RecentIdsSnapshot, SearchTerms};
use crate::trace::TraceId;

/// Minimum number of traces with a reported loss that are remembered, in 1.4 MB.
const MIN_TRACES: usize = 1 << 17;

/// Maximum number of pairs of service and reason; further ones count under one more pair.
const MAX_PAIRS: usize = 100;

/// Maximum number of characters of a label.
const MAX_LABEL_CHARS: usize = 128;

/// A loss report: the service, the reason, the number of dropped spans and the affected traces. Reports are converted to
/// this form at once, since a few hundred decoded report spans could take a gigabyte.
#[derive(Debug)]
pub(super) struct LossReport {
    service: String,
    reason: String,
    spans: u64,
    traces: Vec<TraceId>,
}

/// All reported losses.
#[derive(Debug)]
pub(crate) struct ExporterLosses {
    traces: RecentIds,
    spans: BTreeMap<(String, String), u64>,
}

/// The losses in the file format.
#[derive(Debug, serde::Serialize, serde::Deserialize)]
pub(crate) struct LossesSnapshot {
    traces: RecentIdsSnapshot,
    spans: Vec<(String, String, u64)>,
}

impl LossesSnapshot {
    /// Converts a snapshot of schema 1.
    pub(super) fn upgrade(&mut self) {
        self.traces.upgrade();
    }
}

impl Default for ExporterLosses {
    fn default() -> Self {
        Self { traces: RecentIds::new(MIN_TRACES), spans: BTreeMap::new() }
    }
}

impl ExporterLosses {
    pub(super) fn record(&mut self, LossReport { service, reason, spans: count, traces }: LossReport) {
        for id in traces {
            self.traces.insert(id, 0);
        }
        let mut key = (service, reason);
        if self.spans.len() >= MAX_PAIRS && !self.spans.contains_key(&key) {
            key = ("other".to_owned(), "unknown".to_owned());
        }
        let known = self.spans.entry(key).or_default();
        *known = known.saturating_add(count);
    }

    pub(crate) fn snapshot(&self) -> LossesSnapshot {
        LossesSnapshot {
            traces: self.traces.snapshot(),
            spans: self
                .spans()
                .map(|((service, reason), count)| (service.to_owned(), reason.to_owned(), count))
                .collect(),
        }
    }

    /// Restores a snapshot; `None` if it is damaged.
    pub(crate) fn restore(snapshot: LossesSnapshot) -> Option<Self> {
        let traces = RecentIds::restore(&snapshot.traces)?;
        let spans = snapshot.spans.into_iter().map(|(service, reason, count)| ((service, reason), count));
        Some(Self { traces, spans: spans.collect() })
    }

    /// Returns whether an exporter reported dropped spans of this trace.
    pub(crate) fn contains(&self, id: TraceId) -> bool {
        self.traces.get(id).is_some()
    }

    /// Returns the number of dropped spans by service and reason.
    pub(crate) fn spans(&self) -> impl Iterator<Item = ((&str, &str), u64)> {
        self.spans.iter().map(|((service, reason), count)| ((service.as_str(), reason.as_str()), *count))
    }
}

/// Returns the text as a metric label: truncated, without characters that need escaping.
fn label(text: &str) -> String {
    let plain = |c: char| if c.is_control() || matches!(c, '"' | '\\') { '_' } else { c };
    text.chars().take(MAX_LABEL_CHARS).map(plain).collect()
}

/// Returns the loss report of a span; `None` for any other span.
pub(super) fn report(service: &str, scope: &str, span: &[u8]) -> Option<LossReport> {
    // Validated first, which bounds the size of the decoded span.
    let is_valid = || validate::span(span, &mut Vec::new(), &mut SearchTerms::default()).is_ok();
    if scope != contract::LOSS_SCOPE || !is_valid() {
        return None;
    }
    let span = Span::decode(span).ok().filter(|span| span.name == contract::LOSS_REPORT)?;
    let spans = match value(&span.attributes, contract::DROPPED_COUNT) {
        Some(Value::IntValue(count)) => u64::try_from(*count).unwrap_or(0),
        _ => 0,
    };
    let reason = text(&span.attributes, contract::DROPPED_REASON).unwrap_or("unknown");
    let traces = span.links.iter().filter_map(|link| TraceId::from_bytes(&link.trace_id));
    Some(LossReport { service: label(service), reason: label(reason), spans, traces: traces.collect() })
}

fn text<'a>(attributes: &'a [KeyValue], key: &str) -> Option<&'a str> {
    match value(attributes, key)? {
        Value::StringValue(text) => Some(text),
        _ => None,
    }
}

fn value<'a>(attributes: &'a [KeyValue], key: &str) -> Option<&'a Value> {
    attributes.iter().find(|attribute| attribute.key == key)?.value.as_ref()?.value.as_ref()
}
