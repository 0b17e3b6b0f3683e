//! One element of `resourceSpans`: the spans of one resource, as they appear in files and messages.

use std::borrow::Cow;
use std::collections::BTreeSet;

use prost::Message as _;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;

use super::encoded::{push_bytes, push_nested};
use super::from_json;
use super::json_repair::repaired_json;
use super::repair::Repairs;
use super::schema::RESOURCE_SPANS;
use super::to_json::Json;
use super::wire::{Field, Fields};
use crate::trace::{Trace, TraceId};

/// The spans of one resource. Serializes as OTLP JSON. Spans without valid ids are kept, so that the receiver can reject them.
#[derive(Debug, Clone, PartialEq)]
pub struct ResourceSpans {
    /// The encoded message.
    encoded: Vec<u8>,
}

impl ResourceSpans {
    /// Returns the spans of a trace grouped by resource, in the order of the spans.
    pub fn of(trace: &Trace) -> impl Iterator<Item = Self> {
        super::resource_spans(trace).into_iter().map(|group| Self { encoded: group.encode_to_vec() })
    }

    /// Returns the number of spans.
    pub fn spans(&self) -> usize {
        self.scope_spans().map(|scope_spans| elements(scope_spans).count()).sum()
    }

    /// Returns the ids of the traces that the spans belong to.
    pub fn traces(&self) -> BTreeSet<TraceId> {
        let trace_id = |span| {
            let ids = fields(span).filter(|(number, _)| *number == 1);
            ids.last().and_then(|(_, id)| TraceId::from_bytes(id.bytes().ok()?))
        };
        self.scope_spans().flat_map(elements).filter_map(trace_id).collect()
    }

    /// Splits the spans into two halves, for a message that would be too long.
    pub fn halves(self) -> [Self; 2] {
        let mut missing = self.spans() / 2;
        let mut halves = [(); 2].map(|()| {
            let mut encoded = Vec::new();
            others(&self.encoded, &mut encoded);
            Self { encoded }
        });
        for scope_spans in self.scope_spans() {
            let spans: Vec<_> = elements(scope_spans).collect();
            let (here, there) = spans.split_at(missing.min(spans.len()));
            missing -= here.len();
            for (half, spans) in halves.iter_mut().zip([here, there]) {
                if spans.is_empty() {
                    continue;
                }
                push_nested(&mut half.encoded, 2, |out| {
                    others(scope_spans, out);
                    spans.iter().for_each(|span| push_bytes(out, 2, span));
                });
            }
        }
        halves
    }

    fn scope_spans(&self) -> impl Iterator<Item = &[u8]> {
        elements(&self.encoded)
    }
}

/// Returns the fields of a message.
fn fields(message: &[u8]) -> impl Iterator<Item = (u32, Field<'_>)> {
    let mut fields = Fields(message);
    // Only well-formed messages are kept.
    std::iter::from_fn(move || fields.next().ok().flatten())
}

/// Returns the members of `ResourceSpans` or `ScopeSpans`.
fn elements(group: &[u8]) -> impl Iterator<Item = &[u8]> {
    fields(group).filter_map(|(number, field)| if number == 2 { field.bytes().ok() } else { None })
}

/// Appends the fields of `ResourceSpans` or `ScopeSpans` other than the members.
fn others(group: &[u8], out: &mut Vec<u8>) {
    for (number, field) in fields(group) {
        if let (1 | 3, Field::Bytes(bytes)) = (number, field) {
            push_bytes(out, number, bytes);
        }
    }
}

impl Serialize for ResourceSpans {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Json { message: &RESOURCE_SPANS, encoded: &self.encoded }.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for ResourceSpans {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let json = Box::<RawValue>::deserialize(deserializer)?;
        let (json, _): (Cow<'_, str>, _) = repaired_json(json.get().as_bytes());
        let encoded = from_json::message(&RESOURCE_SPANS, &json, &mut Repairs::default());
        Ok(Self { encoded: encoded.map_err(D::Error::custom)? })
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
            for scope_spans in other.scope_spans() {
                push_bytes(&mut whole[0].encoded, 2, scope_spans);
            }
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
