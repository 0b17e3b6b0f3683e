//! Converts OTLP JSON into protobuf, one span, resource or scope at a time: parsed JSON may take 50 times its length in memory.

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

use super::limits::MAX_JSON_PARTS_PER_SPAN;

/// Converts an `ExportTraceServiceRequest` from JSON to protobuf, the only form that ingest accepts.
pub(crate) fn to_protobuf(json: &[u8]) -> serde_json::Result<Bytes> {
    // serde would accept a list of the message's fields in order.
    if !json.trim_ascii_start().starts_with(b"{") {
        return Err(Error::custom("not a JSON object"));
    }
    let ExportRequest { resource_spans } = serde_json::from_slice(json)?;
    Ok(resource_spans.encoded.into())
}

/// Returns whether the JSON has at most `max` objects, lists and members, ignoring the contents of strings.
pub(crate) fn has_at_most_parts(json: &[u8], max: usize) -> bool {
    if json.len() <= max {
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
    parts <= max
}

/// `ExportTraceServiceRequest`.
#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct ExportRequest {
    resource_spans: MessageList<1, OfResource>,
}

/// `ResourceSpans`.
#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct OfResource {
    resource: Option<Message<Resource>>,
    scope_spans: MessageList<2, OfScope>,
    schema_url: String,
}

/// `ScopeSpans`.
#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct OfScope {
    scope: Option<Message<InstrumentationScope>>,
    spans: MessageList<2, Message<Span>>,
    schema_url: String,
}

/// A protobuf message that was parsed from JSON as an `M`.
struct Message<M> {
    encoded: Vec<u8>,
    read_as: PhantomData<M>,
}

/// Protobuf messages, each preceded by the key of field `NUMBER` and its length.
struct MessageList<const NUMBER: u32, T> {
    encoded: Vec<u8>,
    read_as: PhantomData<T>,
}

impl<const NUMBER: u32, T> Default for MessageList<NUMBER, T> {
    fn default() -> Self {
        Self { encoded: Vec::new(), read_as: PhantomData }
    }
}

impl<M> From<Message<M>> for Vec<u8> {
    fn from(one: Message<M>) -> Self {
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

/// Encodes `ResourceSpans` or `ScopeSpans`: both have a resource or scope in field 1, members in field 2 and a schema URL
/// in field 3.
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

impl<'de, M: DeserializeOwned + prost::Message> Deserialize<'de> for Message<M> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let json = <&RawValue>::deserialize(deserializer)?.get();
        if !has_at_most_parts(json.as_bytes(), MAX_JSON_PARTS_PER_SPAN) {
            return Err(Error::custom(format_args!(
                "span, resource or scope has more than {MAX_JSON_PARTS_PER_SPAN} objects, lists and members"
            )));
        }
        let message: M = serde_json::from_str(json).map_err(Error::custom)?;
        Ok(Self { encoded: message.encode_to_vec(), read_as: PhantomData })
    }
}

impl<'de, const NUMBER: u32, T> Deserialize<'de> for MessageList<NUMBER, T>
where
    T: Deserialize<'de> + Into<Vec<u8>>,
{
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(Self::default())
    }
}

impl<'de, const NUMBER: u32, T> Visitor<'de> for MessageList<NUMBER, T>
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
    fn conversion_by_span_equals_parsing_at_once() {
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
    fn rejects_invalid_messages_and_names_the_position() {
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
    fn rejects_a_span_with_too_many_parts_before_parsing_it() {
        let with = |value: &str| {
            let attribute = format!(r#"{{"key":"k","value":{value}}}"#);
            let json = format!(
                r#"{{"resourceSpans":[{{"scopeSpans":[{{"spans":[{{"attributes":[{attribute}]}}]}}]}}]}}"#
            );
            to_protobuf(json.as_bytes()).map(drop).map_err(|error| error.to_string())
        };
        let many = "0,".repeat(MAX_JSON_PARTS_PER_SPAN);
        let refused = with(&format!(r#"{{"x":[{many}0]}}"#)).unwrap_err();
        assert!(refused.contains("more than 400000"), "{refused}");
        assert_eq!(with(&format!(r#"{{"stringValue":"\"{many}"}}"#)), Ok(()), "a string counts as one part");
    }
}
