//! What exporters say they had to drop: spans named `spans dropped` that link to the traces concerned.

use std::collections::BTreeMap;

use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message as _;
use telemetry::contract;

use crate::store::validate;
use crate::store::{RecentIds, RecentIdsSnapshot, SearchTerms};
use crate::trace::TraceId;

/// Traces with a reported loss that are remembered at least, in 1.4 MB.
const REMEMBERED: usize = 1 << 17;

/// Senders and reasons told apart; further ones count under the last.
const MAX_SENDERS: usize = 100;

/// Characters of a service's name, or of a reason.
const LABEL: usize = 128;

/// One report: who dropped how many spans, why, and of which traces. A few hundred of the spans that bring them could take
/// a gigabyte when they are decoded.
#[derive(Debug)]
pub(super) struct Report {
    service: String,
    reason: String,
    spans: u64,
    traces: Vec<TraceId>,
}

/// The reports so far.
#[derive(Debug)]
pub(crate) struct Losses {
    traces: RecentIds,
    spans: BTreeMap<(String, String), u64>,
}

/// The reports as a file keeps them.
#[derive(Debug, serde::Serialize, serde::Deserialize)]
pub(crate) struct State {
    traces: RecentIdsSnapshot,
    spans: Vec<(String, String, u64)>,
}

impl Default for Losses {
    fn default() -> Self {
        Self { traces: RecentIds::new(REMEMBERED), spans: BTreeMap::new() }
    }
}

impl Losses {
    pub(super) fn record(&mut self, Report { service, reason, spans: count, traces }: Report) {
        for id in traces {
            self.traces.insert(id, 0);
        }
        let mut key = (service, reason);
        if self.spans.len() >= MAX_SENDERS && !self.spans.contains_key(&key) {
            key = ("other".to_owned(), "unknown".to_owned());
        }
        let known = self.spans.entry(key).or_default();
        *known = known.saturating_add(count);
    }

    pub(crate) fn state(&self) -> State {
        State {
            traces: self.traces.snapshot(),
            spans: self
                .spans()
                .map(|((service, reason), count)| (service.to_owned(), reason.to_owned(), count))
                .collect(),
        }
    }

    /// `None` if the state is not one.
    pub(crate) fn restore(state: State) -> Option<Self> {
        let traces = RecentIds::restore(&state.traces)?;
        let spans = state.spans.into_iter().map(|(service, reason, count)| ((service, reason), count));
        Some(Self { traces, spans: spans.collect() })
    }

    /// Whether an exporter reported that it dropped spans of this trace.
    pub(crate) fn names(&self, id: TraceId) -> bool {
        self.traces.get(id).is_some()
    }

    /// Spans dropped, by service and reason.
    pub(crate) fn spans(&self) -> impl Iterator<Item = ((&str, &str), u64)> {
        self.spans.iter().map(|((service, reason), count)| ((service.as_str(), reason.as_str()), *count))
    }
}

/// A text of the sender's as a metric's label: short, and nothing in it that would have to be escaped.
fn label(text: &str) -> String {
    let plain = |c: char| if c.is_control() || matches!(c, '"' | '\\') { '_' } else { c };
    text.chars().take(LABEL).map(plain).collect()
}

/// The report that a service's span is, if it is one.
pub(super) fn report(service: &str, scope: &str, span: &[u8]) -> Option<Report> {
    // Checked first: what a few bytes decode to can be large.
    let is_small = || validate::span(span, &mut Vec::new(), &mut SearchTerms::default()).is_ok();
    if scope != contract::LOSS_SCOPE || !is_small() {
        return None;
    }
    let span = Span::decode(span).ok().filter(|span| span.name == contract::LOSS_REPORT)?;
    let spans = match value(&span.attributes, contract::DROPPED_COUNT) {
        Some(Value::IntValue(count)) => u64::try_from(*count).unwrap_or(0),
        _ => 0,
    };
    let reason = text(&span.attributes, contract::DROPPED_REASON).unwrap_or("unknown");
    let traces = span.links.iter().filter_map(|link| TraceId::from_bytes(&link.trace_id));
    Some(Report { service: label(service), reason: label(reason), spans, traces: traces.collect() })
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
