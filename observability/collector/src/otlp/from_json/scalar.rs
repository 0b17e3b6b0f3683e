//! Reads a single value: a text, a number, a boolean or bytes.

use std::fmt;

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use prost::encoding::{WireType, encode_key};
use serde::de::{Error, Unexpected, Visitor};

use crate::otlp::encoded::{push_bytes, push_varint};
use crate::otlp::schema::Kind;

/// Base64 with or without padding.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

/// Reads a value of a kind, and appends it as field `number`. Appends nothing for `null`.
pub(super) struct Scalar<'o> {
    pub(super) number: u32,
    pub(super) kind: Kind,
    /// Whether to append a value that is the default of its kind.
    pub(super) keeps_default: bool,
    pub(super) out: &'o mut Vec<u8>,
}

impl Visitor<'_> for Scalar<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.kind {
            Kind::Text => "a string",
            Kind::Id => "hexadecimal digits",
            Kind::Bytes => "base64",
            Kind::Bool => "a boolean",
            Kind::Int64 => "a signed 64-bit integer",
            Kind::Uint32 | Kind::Fixed32 => "an unsigned 32-bit integer",
            Kind::Fixed64 => "an unsigned 64-bit integer",
            Kind::Double => "a number",
            Kind::Enum(_) => "the name or the number of an enum value",
            Kind::Message(_) => "an object",
        })
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E: Error>(self, flag: bool) -> Result<(), E> {
        match self.kind {
            Kind::Bool => self.varint(flag.into()),
            _ => return Err(E::invalid_type(Unexpected::Bool(flag), &self)),
        }
        Ok(())
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<(), E> {
        match self.kind {
            Kind::Double => self.double(number as f64),
            _ => return self.integer(number.into(), Unexpected::Unsigned(number)),
        }
        Ok(())
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<(), E> {
        match self.kind {
            Kind::Double => self.double(number as f64),
            _ => return self.integer(number.into(), Unexpected::Signed(number)),
        }
        Ok(())
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<(), E> {
        match (self.kind, integral(number)) {
            (Kind::Double, _) => self.double(number),
            (_, Some(integer)) => return self.integer(integer, Unexpected::Float(number)),
            (_, None) => return Err(E::invalid_type(Unexpected::Float(number), &self)),
        }
        Ok(())
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<(), E> {
        let unexpected = Unexpected::Str(text);
        match self.kind {
            Kind::Text => self.bytes(text.as_bytes()),
            Kind::Id => match from_hex(text) {
                Some(id) => self.bytes(&id),
                None => return Err(E::invalid_value(unexpected, &self)),
            },
            Kind::Bytes => match BASE64.decode(text.replace('-', "+").replace('_', "/")) {
                Ok(bytes) => self.bytes(&bytes),
                Err(_) => return Err(E::invalid_value(unexpected, &self)),
            },
            Kind::Double => match parse_double(text) {
                Some(number) => self.double(number),
                None => return Err(E::invalid_value(unexpected, &self)),
            },
            Kind::Enum(names) => match names.iter().position(|name| *name == text) {
                Some(number) => self.varint(number as u64),
                None => return self.integer_text(text),
            },
            _ => return self.integer_text(text),
        }
        Ok(())
    }
}

impl Scalar<'_> {
    fn integer_text<E: Error>(self, text: &str) -> Result<(), E> {
        let parsed = text.parse().ok().or_else(|| integral(text.parse().ok()?));
        match parsed {
            Some(number) => self.integer(number, Unexpected::Str(text)),
            None => Err(E::invalid_value(Unexpected::Str(text), &self)),
        }
    }

    fn integer<E: Error>(self, number: i128, unexpected: Unexpected<'_>) -> Result<(), E> {
        let in_range = match self.kind {
            Kind::Int64 => i64::try_from(number).is_ok(),
            Kind::Uint32 | Kind::Fixed32 => u32::try_from(number).is_ok(),
            Kind::Fixed64 => u64::try_from(number).is_ok(),
            Kind::Enum(_) => i32::try_from(number).is_ok(),
            _ => return Err(E::invalid_type(unexpected, &self)),
        };
        if !in_range {
            return Err(E::invalid_value(unexpected, &self));
        }
        match self.kind {
            Kind::Fixed32 if number != 0 || self.keeps_default => {
                encode_key(self.number, WireType::ThirtyTwoBit, self.out);
                self.out.extend_from_slice(&(number as u32).to_le_bytes());
            }
            Kind::Fixed64 if number != 0 || self.keeps_default => {
                encode_key(self.number, WireType::SixtyFourBit, self.out);
                self.out.extend_from_slice(&(number as u64).to_le_bytes());
            }
            Kind::Fixed32 | Kind::Fixed64 => {}
            // A negative number is encoded in 64 bits.
            _ => self.varint(number as u64),
        }
        Ok(())
    }

    fn varint(self, number: u64) {
        if number != 0 || self.keeps_default {
            push_varint(self.out, self.number, number);
        }
    }

    fn double(self, number: f64) {
        if number.to_bits() != 0 || self.keeps_default {
            encode_key(self.number, WireType::SixtyFourBit, self.out);
            self.out.extend_from_slice(&number.to_le_bytes());
        }
    }

    fn bytes(self, bytes: &[u8]) {
        if !bytes.is_empty() || self.keeps_default {
            push_bytes(self.out, self.number, bytes);
        }
    }
}

/// Returns the integer that a number is, if it is one: `1e3` and `1.0` are.
fn integral(number: f64) -> Option<i128> {
    (number.fract() == 0.0).then_some(number as i128)
}

fn parse_double(text: &str) -> Option<f64> {
    match text {
        "NaN" => Some(f64::NAN),
        "Infinity" => Some(f64::INFINITY),
        "-Infinity" => Some(f64::NEG_INFINITY),
        // Rust also parses other words, such as `inf`.
        _ => text.parse().ok().filter(|number: &f64| number.is_finite()),
    }
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let (pairs, []) = text.as_bytes().as_chunks::<2>() else { return None };
    pairs.iter().map(|[high, low]| Some((digit(*high)? << 4 | digit(*low)?) as u8)).collect()
}
