//! Attributes as tags of the UI.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;
use serde_json::{Value as Json, json};

use crate::otlp::text::as_text;
use crate::trace::{Attribute, Value};

/// Integers that a JavaScript number represents exactly.
const EXACT: std::ops::RangeInclusive<i64> = -((1 << 53) - 1)..=(1 << 53) - 1;

#[derive(Debug, Serialize)]
pub(super) struct Tag {
    pub(super) key: String,
    #[serde(rename = "type")]
    kind: &'static str,
    value: Json,
}

pub(super) fn tags<'a>(attributes: impl IntoIterator<Item = &'a Attribute>) -> impl Iterator<Item = Tag> {
    attributes.into_iter().map(|Attribute { key, value }| tag(key, value))
}

/// Returns the elements of a list, or a single value, as texts.
pub(super) fn texts(value: &Value) -> Vec<String> {
    let list = if let Value::Array(list) = value { list.as_slice() } else { std::slice::from_ref(value) };
    list.iter().map(|value| as_text(value).into_owned()).collect()
}

pub(super) fn string(key: &str, text: &str) -> Tag {
    Tag { key: key.to_owned(), kind: "string", value: Json::String(text.to_owned()) }
}

pub(super) fn flag(key: &str) -> Tag {
    Tag { key: key.to_owned(), kind: "bool", value: Json::Bool(true) }
}

fn tag(key: &str, value: &Value) -> Tag {
    let (kind, value) = match value {
        Value::Empty => ("string", json!("")),
        Value::String(text) => ("string", json!(text)),
        Value::Bool(flag) => ("bool", json!(flag)),
        Value::Int(number) if EXACT.contains(number) => ("int64", json!(number)),
        Value::Int(number) => ("int64", json!(number.to_string())),
        // JSON has no NaN and no infinities.
        Value::Double(number) if number.is_finite() => ("float64", json!(number)),
        Value::Double(number) => ("float64", json!(number.to_string())),
        Value::Bytes(bytes) => ("binary", json!(STANDARD.encode(bytes))),
        Value::Array(_) | Value::Map(_) => ("string", json!(as_text(value))),
    };
    Tag { key: key.to_owned(), kind, value }
}
