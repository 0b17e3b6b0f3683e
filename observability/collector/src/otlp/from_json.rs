//! Converts OTLP JSON into protobuf as it is parsed, so that memory holds the encoded form only. Accepts what the ProtoJSON
//! mapping allows: absent and `null` fields, numbers as strings, enums by name, both names of a field, unknown fields. Of
//! fields that are there twice the last one counts, as in Jaeger's receiver.
//!
//! Specification: protobuf.dev/programming-guides/json, with OTLP's exception that ids are hexadecimal.

mod scalar;

use std::fmt;

use bytes::Bytes;
use serde::Deserializer;
use serde::de::{DeserializeSeed, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::encoded::{push_bytes, push_nested};
use super::json_repair::repaired_json;
use super::limits::MAX_DEPTH;
use super::repair::{Repairs, TOO_DEEP};
use super::schema::{EXPORT_REQUEST, Field, Kind, Message};
use crate::trace::{SpanId, TraceId};
use scalar::Scalar;

/// Maximum number of fields of a message.
const MAX_FIELDS: usize = 16;

/// Number of nested values after which a new parser continues: a map takes four levels of JSON, and serde_json accepts 128.
const VALUES_PER_PARSER: usize = 16;

/// Converts an `ExportTraceServiceRequest` from JSON to protobuf, the only form that ingest accepts. Returns also what was
/// repaired.
pub(crate) fn to_protobuf(json: &[u8]) -> serde_json::Result<(Bytes, Repairs)> {
    let (text, strings) = repaired_json(json);
    // RFC 8259 allows parsers to ignore a byte-order mark.
    let text = text.trim_start_matches('\u{feff}');
    if !text.trim_start().starts_with('{') {
        return Err(serde_json::Error::custom("not a JSON object"));
    }
    let mut repairs = Repairs { strings, cuts: 0 };
    let encoded = message(&EXPORT_REQUEST, text, &mut repairs)?;
    Ok((encoded.into(), repairs))
}

/// Converts one message.
pub(super) fn message(
    message: &'static Message,
    json: &str,
    repairs: &mut Repairs,
) -> serde_json::Result<Vec<u8>> {
    let mut encoded = Vec::new();
    let mut parser = serde_json::Deserializer::from_str(json);
    MessageSeed { message, depth: 0, out: &mut encoded, repairs }.deserialize(&mut parser)?;
    parser.end()?;
    Ok(encoded)
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

/// Reads an object or `null`, and appends the message's fields.
struct MessageSeed<'o> {
    message: &'static Message,
    /// Number of lists and maps around the value.
    depth: usize,
    out: &'o mut Vec<u8>,
    repairs: &'o mut Repairs,
}

impl<'de> DeserializeSeed<'de> for MessageSeed<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for MessageSeed<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "an object: {}", self.message.name)
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let Self { message, depth, out, repairs } = self;
        let start = out.len();
        let mut written = Written::default();
        while let Some(position) = map.next_key_seed(FieldName(message))? {
            let Some(position) = position else {
                map.next_value::<IgnoredAny>()?;
                continue;
            };
            written.remove(position, out);
            let (field, before) = (&message.fields[position], out.len());
            let seed = FieldSeed { message, field, depth, out: &mut *out, repairs: &mut *repairs };
            map.next_value_seed(seed).map_err(|error| match written.span_ids(message, out) {
                Some(span) => A::Error::custom(format_args!("{span}: {}: {error}", field.name)),
                None => error,
            })?;
            if message.is_value && before > start && out.len() > before {
                out.drain(start..before);
                written = Written::default();
                written.add(position, start, out.len());
            } else {
                written.add(position, before, out.len());
            }
        }
        Ok(())
    }
}

/// Where the fields of a message were written, for the case that one of them comes again.
#[derive(Default)]
struct Written {
    ranges: [(usize, usize); MAX_FIELDS],
}

impl Written {
    fn add(&mut self, position: usize, start: usize, end: usize) {
        self.ranges[position] = (start, end);
    }

    /// Describes a span by the ids that have been read, for an error; `None` for other messages and before an id was read.
    fn span_ids(&self, message: &Message, out: &[u8]) -> Option<String> {
        let id = |name| {
            let (start, end) = self.ranges[message.position(name)?];
            // After the key and the length, one byte each.
            out.get(start + 2..end)
        };
        let trace = id("traceId").and_then(TraceId::from_bytes).map(|id| format!("trace {id}"));
        let span = id("spanId").and_then(SpanId::from_bytes).map(|id| format!("span {id}"));
        let known: Vec<String> = [trace, span].into_iter().flatten().collect();
        (message.name == "Span" && !known.is_empty()).then(|| known.join(", "))
    }

    fn remove(&mut self, position: usize, out: &mut Vec<u8>) {
        let (start, end) = std::mem::take(&mut self.ranges[position]);
        if start == end {
            return;
        }
        out.drain(start..end);
        for range in self.ranges.iter_mut().filter(|range| range.0 >= end) {
            *range = (range.0 - (end - start), range.1 - (end - start));
        }
    }
}

/// Reads a member's name as the position of its field; `None` for an unknown one.
struct FieldName(&'static Message);

impl<'de> DeserializeSeed<'de> for FieldName {
    type Value = Option<usize>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_identifier(self)
    }
}

impl Visitor<'_> for FieldName {
    type Value = Option<usize>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_str<E>(self, name: &str) -> Result<Self::Value, E> {
        Ok(self.0.position(name))
    }
}

/// Reads a field's value, and appends it with its key. Appends nothing for `null`.
struct FieldSeed<'o> {
    message: &'static Message,
    field: &'static Field,
    depth: usize,
    out: &'o mut Vec<u8>,
    repairs: &'o mut Repairs,
}

impl<'de> DeserializeSeed<'de> for FieldSeed<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        let Self { message, field, depth, out, repairs } = self;
        match field.kind {
            _ if field.repeated => deserializer.deserialize_any(Elements { field, depth, out, repairs }),
            Kind::Message(_) if message.is_value && depth >= MAX_DEPTH => {
                if deserializer.deserialize_any(Presence)? {
                    push_bytes(out, 1, TOO_DEEP.as_bytes());
                    repairs.cuts += 1;
                }
                Ok(())
            }
            Kind::Message(child) => {
                let depth = depth + usize::from(message.is_value);
                let inner = NestedSeed { number: field.number, message: child, depth, out, repairs };
                if message.is_value && depth.is_multiple_of(VALUES_PER_PARSER) {
                    let json = <&RawValue as serde::Deserialize>::deserialize(deserializer)?.get();
                    let mut parser = serde_json::Deserializer::from_str(json);
                    inner.deserialize(&mut parser).map_err(D::Error::custom)
                } else {
                    inner.deserialize(deserializer)
                }
            }
            kind => {
                let scalar = Scalar { number: field.number, kind, keeps_default: message.is_value, out };
                deserializer.deserialize_any(scalar)
            }
        }
    }
}

/// Skips a value. Returns whether it is an object rather than `null`.
struct Presence;

impl<'de> Visitor<'de> for Presence {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_unit<E>(self) -> Result<bool, E> {
        Ok(false)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<bool, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(true)
    }
}

/// Reads a message that is a single field; `null` is absent.
struct NestedSeed<'o> {
    number: u32,
    message: &'static Message,
    depth: usize,
    out: &'o mut Vec<u8>,
    repairs: &'o mut Repairs,
}

impl<'de> DeserializeSeed<'de> for NestedSeed<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for NestedSeed<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "an object: {}", self.message.name)
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<(), A::Error> {
        let Self { number, message, depth, out, repairs } = self;
        push_nested(out, number, |out| MessageSeed { message, depth, out, repairs }.visit_map(map))
    }
}

/// Reads the elements of a repeated field; `null` instead of the list is an empty one.
struct Elements<'o> {
    field: &'static Field,
    depth: usize,
    out: &'o mut Vec<u8>,
    repairs: &'o mut Repairs,
}

impl<'de> Visitor<'de> for Elements<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a list: {}", self.field.name)
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        let Self { field, depth, out, repairs } = self;
        loop {
            let element = Element { field, depth, out: &mut *out, repairs: &mut *repairs };
            if list.next_element_seed(element)?.is_none() {
                return Ok(());
            }
        }
    }
}

/// Reads one element; `null` is an element with its default value.
struct Element<'o> {
    field: &'static Field,
    depth: usize,
    out: &'o mut Vec<u8>,
    repairs: &'o mut Repairs,
}

impl<'de> DeserializeSeed<'de> for Element<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        let Self { field: &Field { number, kind, .. }, depth, out, repairs } = self;
        match kind {
            Kind::Message(message) => push_nested(out, number, |out| {
                MessageSeed { message, depth, out, repairs }.deserialize(deserializer)
            }),
            kind => {
                let before = out.len();
                deserializer.deserialize_any(Scalar { number, kind, keeps_default: true, out: &mut *out })?;
                // Only texts are repeated.
                if out.len() == before {
                    push_bytes(out, number, b"");
                }
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests;
