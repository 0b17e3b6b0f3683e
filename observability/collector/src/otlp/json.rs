//! OTLP JSON into protobuf, a span at a time: what is read of JSON may take fifty times its length, so never more than one
//! span, resource or scope of a message is read at once.

use std::fmt;
use std::marker::PhantomData;

use bytes::Bytes;
use opentelemetry_proto::tonic::common::v1::InstrumentationScope;
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::encoding::{WireType, encode_key, encode_varint};
use serde::de::{DeserializeOwned, Error, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

/// Objects, lists and their members in the JSON of one span, resource or scope. What has as many attributes, events and
/// links as it may have has half of them.
const MAX_PARTS: usize = 400_000;

/// An `ExportTraceServiceRequest` in JSON into one in protobuf, which is what is worked with.
pub(crate) fn to_protobuf(json: &[u8]) -> serde_json::Result<Bytes> {
    // A list would be taken for the message's fields in their order.
    if !json.trim_ascii_start().starts_with(b"{") {
        return Err(Error::custom("not a JSON object"));
    }
    let Request { resource_spans } = serde_json::from_slice(json)?;
    Ok(resource_spans.encoded.into())
}

/// Whether JSON has no more objects, lists and members of them than `most`, whatever its texts hold.
pub(crate) fn has_few_parts(json: &[u8], most: usize) -> bool {
    if json.len() <= most {
        return true;
    }
    let (mut parts, mut in_text, mut escaped) = (0, false, false);
    for byte in json {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = in_text,
            b'"' => in_text = !in_text,
            b'{' | b'[' | b',' if !in_text => parts += 1,
            _ => {}
        }
    }
    parts <= most
}

/// `ExportTraceServiceRequest`.
#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Request {
    resource_spans: List<1, OfResource>,
}

/// `ResourceSpans`.
#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct OfResource {
    resource: Option<One<Resource>>,
    scope_spans: List<2, OfScope>,
    schema_url: String,
}

/// `ScopeSpans`.
#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct OfScope {
    scope: Option<One<InstrumentationScope>>,
    spans: List<2, One<Span>>,
    schema_url: String,
}

/// A message in protobuf, which was read from JSON as an `M`.
struct One<M> {
    encoded: Vec<u8>,
    read_as: PhantomData<M>,
}

/// Messages in protobuf, each with the key of field `NUMBER` and its length before it.
struct List<const NUMBER: u32, T> {
    encoded: Vec<u8>,
    read_as: PhantomData<T>,
}

impl<const NUMBER: u32, T> Default for List<NUMBER, T> {
    fn default() -> Self {
        Self { encoded: Vec::new(), read_as: PhantomData }
    }
}

impl<M> From<One<M>> for Vec<u8> {
    fn from(one: One<M>) -> Self {
        one.encoded
    }
}

impl From<OfScope> for Vec<u8> {
    fn from(OfScope { scope, spans, schema_url }: OfScope) -> Self {
        group(scope.map(|scope| scope.encoded), spans.encoded, &schema_url)
    }
}

impl From<OfResource> for Vec<u8> {
    fn from(OfResource { resource, scope_spans, schema_url }: OfResource) -> Self {
        group(resource.map(|resource| resource.encoded), scope_spans.encoded, &schema_url)
    }
}

/// `ResourceSpans` and `ScopeSpans` have the same fields: what their members share, the members, its schema.
fn group(shared: Option<Vec<u8>>, mut members: Vec<u8>, schema_url: &str) -> Vec<u8> {
    if let Some(shared) = shared {
        push_field(&mut members, 1, &shared);
    }
    if !schema_url.is_empty() {
        push_field(&mut members, 3, schema_url.as_bytes());
    }
    members
}

fn push_field(message: &mut Vec<u8>, number: u32, field: &[u8]) {
    encode_key(number, WireType::LengthDelimited, message);
    encode_varint(field.len() as u64, message);
    message.extend_from_slice(field);
}

impl<'de, M: DeserializeOwned + prost::Message> Deserialize<'de> for One<M> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let json = <&RawValue>::deserialize(deserializer)?.get();
        if !has_few_parts(json.as_bytes(), MAX_PARTS) {
            return Err(Error::custom("a span, resource or scope has more parts than it may have"));
        }
        let message: M = serde_json::from_str(json).map_err(Error::custom)?;
        Ok(Self { encoded: message.encode_to_vec(), read_as: PhantomData })
    }
}

impl<'de, const NUMBER: u32, T> Deserialize<'de> for List<NUMBER, T>
where
    T: Deserialize<'de> + Into<Vec<u8>>,
{
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(Self::default())
    }
}

impl<'de, const NUMBER: u32, T> Visitor<'de> for List<NUMBER, T>
where
    T: Deserialize<'de> + Into<Vec<u8>>,
{
    type Value = Self;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a list")
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut list: A) -> Result<Self, A::Error> {
        while let Some(one) = list.next_element::<T>()? {
            let one: Vec<u8> = one.into();
            push_field(&mut self.encoded, NUMBER, &one);
        }
        Ok(self)
    }
}

#[cfg(test)]
mod tests {
    use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
    use prost::Message as _;

    use super::*;

    #[test]
    fn what_is_read_a_span_at_a_time_is_what_is_read_at_once() {
        let json = r#" {"resourceSpans":[
            {"schemaUrl":"r","resource":{"attributes":[{"key":"service.name","value":{"stringValue":"a"}}]},
             "scopeSpans":[{"spans":[{"traceId":"5b8efff798038103d269b633813fc60c","spanId":"eee19b7ec3c1b174",
                 "name":"n","kind":2,"startTimeUnixNano":"7","endTimeUnixNano":9,
                 "attributes":[{"key":"i","value":{"intValue":"-3"}},{"key":"l","value":{"arrayValue":{"values":[]}}}],
                 "events":[{"name":"e"}],"links":[{"spanId":"eee19b7ec3c1b174"}],"status":{"code":2}},
                {"name":"without ids"}], "scope":{"name":"s","version":"1"}, "schemaUrl":"s"},
              {"spans":[],"unknown":[{}]}]},
            {}, {"resource":null}]} "#;
        let at_once: ExportTraceServiceRequest = serde_json::from_str(json).unwrap();
        let message = to_protobuf(json.as_bytes()).unwrap();
        assert_eq!(ExportTraceServiceRequest::decode(message).unwrap(), at_once);
        assert_eq!(at_once.resource_spans[0].scope_spans[0].spans.len(), 2);
    }

    #[test]
    fn what_is_no_message_is_refused_and_the_place_is_named() {
        for (json, why) in [
            ("[]", "not a JSON object"),
            (r#"{"resourceSpans":null}"#, "expected a list"),
            (r#"{"resourceSpans":[{"scopeSpans":[{"spans":[{"traceId":7}]}]}]}"#, "at line 1 column"),
            (r#"{"resourceSpans":[{"scopeSpans":[{"spans":[{"kind":"SERVER"}]}]}]}"#, "at line 1 column"),
            (r#"{"resourceSpans":[{"#, "EOF"),
        ] {
            let error = to_protobuf(json.as_bytes()).unwrap_err().to_string();
            assert!(error.contains(why), "{json}: {error}");
        }
    }

    #[test]
    fn a_span_of_too_many_parts_is_refused_before_it_is_read() {
        let with = |value: &str| {
            let attribute = format!(r#"{{"key":"k","value":{value}}}"#);
            let json = format!(
                r#"{{"resourceSpans":[{{"scopeSpans":[{{"spans":[{{"attributes":[{attribute}]}}]}}]}}]}}"#
            );
            to_protobuf(json.as_bytes()).map(drop).map_err(|error| error.to_string())
        };
        let many = "0,".repeat(MAX_PARTS);
        let refused = with(&format!(r#"{{"x":[{many}0]}}"#)).unwrap_err();
        assert!(refused.contains("more parts"), "{refused}");
        assert_eq!(with(&format!(r#"{{"stringValue":"\"{many}"}}"#)), Ok(()), "a text is one part");
    }
}
