//! Parses a tag into an attribute of the tag's type.
//!
//! The UI shows any value, whatever type it is declared to have. A value that is not of its declared type gets the type that
//! it has in JSON.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::{Number, Value as Json};

use super::lenient::Text;
use crate::trace::{Attribute, Value};

/// 2⁶³, one more than the largest integer.
const END_OF_INTEGERS: f64 = 9_223_372_036_854_775_808.0;

/// Converted while it is parsed: a file may have millions of tags.
#[derive(Deserialize)]
#[serde(from = "TagFields")]
pub(super) struct InputTag(pub(super) Attribute);

#[derive(Deserialize)]
struct TagFields {
    #[serde(default)]
    key: Text,
    #[serde(rename = "type", default)]
    kind: Text,
    #[serde(default)]
    value: Json,
}

impl From<TagFields> for InputTag {
    fn from(TagFields { key: Text(key), kind: Text(kind), value }: TagFields) -> Self {
        let value = typed(&kind, &value).unwrap_or_else(|| untyped(value));
        Self(Attribute { key, value })
    }
}

/// Parses a value of a given type. Numbers and booleans may be strings: JavaScript has no 64-bit integers, JSON has no NaN,
/// and some of Jaeger's storage backends return all values as strings.
fn typed(kind: &str, value: &Json) -> Option<Value> {
    match (kind.to_ascii_lowercase().as_str(), value) {
        ("bool", Json::String(text)) => text.parse().ok().map(Value::Bool),
        ("int64", Json::Number(number)) => integer(number).map(Value::Int),
        ("int64", Json::String(text)) => text.parse().ok().map(Value::Int),
        ("float64", Json::Number(number)) => number.as_f64().map(Value::Double),
        ("float64", Json::String(text)) => text.parse().ok().map(Value::Double),
        ("binary", Json::String(text)) => STANDARD.decode(text).ok().map(Value::Bytes),
        _ => None,
    }
}

/// Returns the integer that JavaScript saved. It rounds large ones to 53 bits, which turns the largest integers into 2⁶³.
fn integer(number: &Number) -> Option<i64> {
    number.as_i64().or_else(|| {
        let number = number.as_f64().filter(|number| number.fract() == 0.0)?;
        (-END_OF_INTEGERS..=END_OF_INTEGERS).contains(&number).then_some(number as i64)
    })
}

/// Returns a value of the type that it has in JSON. Lists and objects become text, as Jaeger writes them.
fn untyped(value: Json) -> Value {
    match value {
        Json::Null => Value::Empty,
        Json::String(text) => Value::String(text),
        Json::Bool(flag) => Value::Bool(flag),
        Json::Number(number) => match number.as_i64() {
            Some(integer) => Value::Int(integer),
            None => Value::Double(number.as_f64().unwrap_or(f64::NAN)),
        },
        Json::Array(_) | Json::Object(_) => Value::String(value.to_string()),
    }
}
