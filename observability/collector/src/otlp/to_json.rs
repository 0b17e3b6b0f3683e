//! Writes an encoded message as OTLP JSON, which has no fields with their default value.

use std::cell::Cell;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::ser::{SerializeMap as _, SerializeSeq as _};
use serde::{Serialize, Serializer};

use super::schema::{Field, Kind, Message};
use super::wire::{self, Fields};

/// An encoded message that serializes as JSON. Elements of a repeated field must be adjacent, as encoders write them.
pub(super) struct Json<'m> {
    pub(super) message: &'static Message,
    pub(super) encoded: &'m [u8],
}

impl Serialize for Json<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        let fields = Cell::new(Fields(self.encoded));
        while let Some((field, value)) = next(self.message, &fields) {
            if field.repeated {
                map.serialize_entry(
                    field.name,
                    &Elements { message: self.message, field, value, fields: &fields },
                )?;
            } else {
                map.serialize_entry(field.name, &Single { kind: field.kind, value })?;
            }
        }
        map.end()
    }
}

/// Returns the next known field.
fn next<'m>(message: &Message, fields: &Cell<Fields<'m>>) -> Option<(&'static Field, wire::Field<'m>)> {
    let mut rest = fields.get();
    // Only well-formed messages are written.
    while let Some((number, value)) = rest.next().ok().flatten() {
        fields.set(rest);
        if let Some(field) = message.field(number) {
            return Some((field, value));
        }
    }
    None
}

/// A repeated field: `value` and the adjacent fields of the same number.
struct Elements<'s, 'm> {
    message: &'static Message,
    field: &'static Field,
    value: wire::Field<'m>,
    fields: &'s Cell<Fields<'m>>,
}

impl Serialize for Elements<'_, '_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { message, field, value, fields } = *self;
        let mut list = serializer.serialize_seq(None)?;
        list.serialize_element(&Single { kind: field.kind, value })?;
        loop {
            let before = fields.get();
            match next(message, fields) {
                Some((next, value)) if next.number == field.number => {
                    list.serialize_element(&Single { kind: field.kind, value })?;
                }
                _ => {
                    fields.set(before);
                    return list.end();
                }
            }
        }
    }
}

struct Single<'m> {
    kind: Kind,
    value: wire::Field<'m>,
}

impl Serialize for Single<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let (integer, bytes) = match self.value {
            wire::Field::Varint(number) | wire::Field::Fixed64(number) => (number, &[][..]),
            wire::Field::Fixed32(number) => (number.into(), &[][..]),
            wire::Field::Bytes(bytes) => (0, bytes),
        };
        match self.kind {
            Kind::Text => serializer.serialize_str(&String::from_utf8_lossy(bytes)),
            Kind::Id => serializer.serialize_str(&hex(bytes)),
            Kind::Bytes => serializer.serialize_str(&STANDARD.encode(bytes)),
            Kind::Bool => serializer.serialize_bool(integer != 0),
            // 64-bit integers are strings.
            Kind::Int64 => serializer.serialize_str(itoa::Buffer::new().format(integer as i64)),
            Kind::Fixed64 => serializer.serialize_str(itoa::Buffer::new().format(integer)),
            Kind::Uint32 | Kind::Fixed32 => serializer.serialize_u32(integer as u32),
            Kind::Enum(_) => serializer.serialize_i32(integer as i32),
            Kind::Double => double(f64::from_bits(integer), serializer),
            Kind::Message(message) => Json { message, encoded: bytes }.serialize(serializer),
        }
    }
}

fn double<S: Serializer>(number: f64, serializer: S) -> Result<S::Ok, S::Error> {
    match super::text::not_finite(number) {
        Some(name) => serializer.serialize_str(name),
        None => serializer.serialize_f64(number),
    }
}

fn hex(bytes: &[u8]) -> String {
    const DIGITS: [char; 16] =
        ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'a', 'b', 'c', 'd', 'e', 'f'];
    let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    digits.map(|digit| DIGITS[usize::from(digit)]).collect()
}
