//! Attributes as tags of the UI.

use base64::display::Base64Display;
use base64::engine::general_purpose::STANDARD;
use serde::{Serialize, Serializer};

use crate::otlp::text::{as_text, not_finite};
use crate::trace::{Attribute, Value};

/// Integers that a JavaScript number represents exactly.
const EXACT: std::ops::RangeInclusive<i64> = -((1 << 53) - 1)..=(1 << 53) - 1;

/// In JSON `{"key":"…","type":"…","value":…}`.
#[derive(Debug, Serialize)]
pub(super) struct Tag {
    pub(super) key: String,
    #[serde(flatten)]
    pub(super) value: TagValue,
}

/// A value of one of the types of Jaeger's model.
#[derive(Debug, Serialize)]
#[serde(tag = "type", content = "value", rename_all = "lowercase")]
pub(super) enum TagValue {
    String(String),
    Bool(bool),
    Int64(#[serde(serialize_with = "int64")] i64),
    Float64(#[serde(serialize_with = "float64")] f64),
    Binary(#[serde(serialize_with = "binary")] Vec<u8>),
}

pub(super) fn tags<'a>(attributes: impl IntoIterator<Item = &'a Attribute>) -> impl Iterator<Item = Tag> {
    attributes.into_iter().map(|Attribute { key, value }| Tag { key: key.clone(), value: tag_value(value) })
}

/// Returns the elements of a list, or a single value, as texts.
pub(super) fn texts(value: &Value) -> Vec<String> {
    let list = if let Value::Array(list) = value { list.as_slice() } else { std::slice::from_ref(value) };
    list.iter().map(|value| as_text(value).into_owned()).collect()
}

pub(super) fn string(key: &str, text: &str) -> Tag {
    Tag { key: key.to_owned(), value: TagValue::String(text.to_owned()) }
}

pub(super) fn flag(key: &str) -> Tag {
    Tag { key: key.to_owned(), value: TagValue::Bool(true) }
}

fn tag_value(value: &Value) -> TagValue {
    match value {
        Value::Bool(flag) => TagValue::Bool(*flag),
        Value::Int(number) => TagValue::Int64(*number),
        Value::Double(number) => TagValue::Float64(*number),
        Value::Bytes(bytes) => TagValue::Binary(bytes.clone()),
        Value::Empty | Value::String(_) | Value::Array(_) | Value::Map(_) => {
            TagValue::String(as_text(value).into_owned())
        }
    }
}

fn int64<S: Serializer>(number: &i64, serializer: S) -> Result<S::Ok, S::Error> {
    if EXACT.contains(number) { serializer.serialize_i64(*number) } else { serializer.collect_str(number) }
}

/// JSON has no NaN and no infinities.
fn float64<S: Serializer>(number: &f64, serializer: S) -> Result<S::Ok, S::Error> {
    match not_finite(*number) {
        None => serializer.serialize_f64(*number),
        Some(name) => serializer.serialize_str(name),
    }
}

fn binary<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&Base64Display::new(bytes, &STANDARD))
}
