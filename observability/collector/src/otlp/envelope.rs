//! One element of `resourceSpans`: the spans of one resource, as they travel in a file or a message.

use std::collections::BTreeSet;

use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use serde::{Deserialize, Serialize};

use crate::trace::{Trace, TraceId};

/// Reads and writes as OTLP JSON. Keeps what the receiver of it has to judge: a span without valid ids is in it too.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Envelope(ResourceSpans);

impl Envelope {
    /// Those of a trace, in the order of its spans.
    pub fn of(trace: &Trace) -> impl Iterator<Item = Self> {
        super::resource_spans(trace).into_iter().map(Self)
    }

    /// How many spans there are.
    pub fn spans(&self) -> usize {
        self.0.scope_spans.iter().map(|of_scope| of_scope.spans.len()).sum()
    }

    /// The traces that they belong to.
    pub fn traces(&self) -> BTreeSet<TraceId> {
        let spans = self.0.scope_spans.iter().flat_map(|of_scope| &of_scope.spans);
        spans.filter_map(|Span { trace_id, .. }| TraceId::from_bytes(trace_id)).collect()
    }

    /// The first half of the spans and the others, for where all are too many at once.
    pub fn halves(self) -> [Self; 2] {
        let mut room = self.spans() / 2;
        let with = |scope_spans| ResourceSpans {
            resource: self.0.resource.clone(),
            scope_spans,
            schema_url: self.0.schema_url.clone(),
        };
        let [mut first, mut second] = [Vec::new(), Vec::new()];
        for of_scope in &self.0.scope_spans {
            let (here, there) = of_scope.spans.split_at(room.min(of_scope.spans.len()));
            room -= here.len();
            for (list, spans) in [(&mut first, here), (&mut second, there)] {
                if !spans.is_empty() {
                    let (scope, schema_url) = (of_scope.scope.clone(), of_scope.schema_url.clone());
                    list.push(ScopeSpans { scope, spans: spans.to_vec(), schema_url });
                }
            }
        }
        [Self(with(first)), Self(with(second))]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::span;
    use crate::otlp::from_json_line;

    #[test]
    fn halves_have_all_the_spans_in_their_order() {
        let trace = Trace { spans: (1..=5).map(|id| span((id, 0, id, 9))).collect() };
        let mut whole: Vec<_> = Envelope::of(&trace).collect();
        // Each span of these has a scope of its own; the first envelope takes them all.
        for other in whole.split_off(1) {
            whole[0].0.scope_spans.extend(other.0.scope_spans);
        }
        let halves = whole.remove(0).halves();
        assert_eq!(halves.each_ref().map(Envelope::spans), [2, 3]);
        let line = format!("{{\"resourceSpans\":{}}}", serde_json::to_string(&halves).unwrap());
        assert_eq!(from_json_line(&line).unwrap(), trace);
    }

    #[test]
    fn a_span_without_ids_is_kept_and_belongs_to_no_trace() {
        let json = r#"{"scopeSpans":[{"spans":[{"traceId":"","spanId":""},{"traceId":"00000000000000000000000000000011"}]}]}"#;
        let envelope: Envelope = serde_json::from_str(json).unwrap();
        assert_eq!((envelope.spans(), envelope.traces()), (2, BTreeSet::from([TraceId(0x11)])));
        assert!(serde_json::from_str::<Envelope>(r#"{"scopeSpans":7}"#).is_err());
    }
}
