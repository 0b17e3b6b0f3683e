//! One element of `resourceSpans`: the spans of one resource, as they appear in files and messages.

use std::collections::BTreeSet;

use opentelemetry_proto::tonic::trace::v1 as proto;
use opentelemetry_proto::tonic::trace::v1::{ScopeSpans, Span};
use serde::{Deserialize, Serialize};

use crate::trace::{Trace, TraceId};

/// The spans of one resource. Serializes as OTLP JSON. Spans without valid ids are kept, so that the receiver can reject them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ResourceSpans(proto::ResourceSpans);

impl ResourceSpans {
    /// Returns the spans of a trace grouped by resource, in the order of the spans.
    pub fn of(trace: &Trace) -> impl Iterator<Item = Self> {
        super::resource_spans(trace).into_iter().map(Self)
    }

    /// Returns the number of spans.
    pub fn spans(&self) -> usize {
        self.0.scope_spans.iter().map(|of_scope| of_scope.spans.len()).sum()
    }

    /// Returns the ids of the traces that the spans belong to.
    pub fn traces(&self) -> BTreeSet<TraceId> {
        let spans = self.0.scope_spans.iter().flat_map(|of_scope| &of_scope.spans);
        spans.filter_map(|Span { trace_id, .. }| TraceId::from_bytes(trace_id)).collect()
    }

    /// Splits the spans into two halves, for a message that would be too long.
    pub fn halves(self) -> [Self; 2] {
        let mut missing = self.spans() / 2;
        let with = |scope_spans| proto::ResourceSpans {
            resource: self.0.resource.clone(),
            scope_spans,
            schema_url: self.0.schema_url.clone(),
        };
        let [mut first, mut second] = [Vec::new(), Vec::new()];
        for of_scope in &self.0.scope_spans {
            let (here, there) = of_scope.spans.split_at(missing.min(of_scope.spans.len()));
            missing -= here.len();
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
    fn halves_contain_all_spans_in_order() {
        let trace = Trace { spans: (1..=5).map(|id| span((id, 0, id, 9))).collect() };
        let mut whole: Vec<_> = ResourceSpans::of(&trace).collect();
        // Each span has its own scope; moves all of them into the first element.
        for other in whole.split_off(1) {
            whole[0].0.scope_spans.extend(other.0.scope_spans);
        }
        let halves = whole.remove(0).halves();
        assert_eq!(halves.each_ref().map(ResourceSpans::spans), [2, 3]);
        let line = format!("{{\"resourceSpans\":{}}}", serde_json::to_string(&halves).unwrap());
        assert_eq!(from_json_line(&line).unwrap(), trace);
    }

    #[test]
    fn keeps_a_span_without_ids() {
        let json = r#"{"scopeSpans":[{"spans":[{"traceId":"","spanId":""},{"traceId":"00000000000000000000000000000011"}]}]}"#;
        let resource_spans: ResourceSpans = serde_json::from_str(json).unwrap();
        assert_eq!((resource_spans.spans(), resource_spans.traces()), (2, BTreeSet::from([TraceId(0x11)])));
        assert!(serde_json::from_str::<ResourceSpans>(r#"{"scopeSpans":7}"#).is_err());
    }
}
