//! Parses a tag into an attribute of the tag's type.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::Value as Json;

use crate::trace::{Attribute, Value};

/// Converted while it is parsed: a file may have millions of tags.
#[derive(Deserialize)]
#[serde(try_from = "TagFields")]
pub(super) struct InputTag(pub(super) Attribute);

#[derive(Deserialize)]
struct TagFields {
    key: String,
    #[serde(rename = "type")]
    kind: Option<TagType>,
    #[serde(default)]
    value: Json,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum TagType {
    String,
    Bool,
    Int64,
    Float64,
    Binary,
}

/// The value of a tag does not have the tag's type.
#[derive(Debug, thiserror::Error)]
#[error("the value of tag {key:?} is not of type {kind}")]
pub(super) struct WrongType {
    key: String,
    kind: String,
}

impl TryFrom<TagFields> for InputTag {
    type Error = WrongType;

    fn try_from(TagFields { key, kind, value }: TagFields) -> Result<Self, WrongType> {
        let parsed = match kind {
            Some(kind) => typed(kind, value),
            None => untyped(value),
        };
        match parsed {
            Some(value) => Ok(Self(Attribute { key, value })),
            None => {
                let kind =
                    kind.map_or_else(|| "scalar".to_owned(), |kind| format!("{kind:?}").to_lowercase());
                Err(WrongType { key, kind })
            }
        }
    }
}

/// Parses a value of a given type. Numbers and booleans may be strings: JavaScript has no 64-bit integers, JSON has no NaN,
/// and some of Jaeger's storage backends return all values as strings.
fn typed(kind: TagType, value: Json) -> Option<Value> {
    match (kind, value) {
        (TagType::String, Json::String(text)) => Some(Value::String(text)),
        (TagType::Bool, Json::Bool(flag)) => Some(Value::Bool(flag)),
        (TagType::Bool, Json::String(text)) => text.parse().ok().map(Value::Bool),
        (TagType::Int64, Json::Number(number)) => number.as_i64().map(Value::Int),
        (TagType::Int64, Json::String(text)) => text.parse().ok().map(Value::Int),
        (TagType::Float64, Json::Number(number)) => number.as_f64().map(Value::Double),
        (TagType::Float64, Json::String(text)) => text.parse().ok().map(Value::Double),
        (TagType::Binary, Json::String(text)) => STANDARD.decode(text).ok().map(Value::Bytes),
        _ => None,
    }
}

/// Parses a value without a type, as in hand-written files.
fn untyped(value: Json) -> Option<Value> {
    match value {
        Json::Null => Some(Value::Empty),
        Json::String(text) => Some(Value::String(text)),
        Json::Bool(flag) => Some(Value::Bool(flag)),
        Json::Number(number) => {
            number.as_i64().map(Value::Int).or_else(|| number.as_f64().map(Value::Double))
        }
        Json::Array(_) | Json::Object(_) => None,
    }
}
