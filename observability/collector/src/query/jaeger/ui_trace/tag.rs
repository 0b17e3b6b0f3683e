//! A tag as an attribute of the type that it names.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::Value as Json;

use crate::trace::{Attribute, Value};

/// Becomes an attribute while it is read: a file may have millions.
#[derive(Deserialize)]
#[serde(try_from = "UiTag")]
pub(super) struct Tag(pub(super) Attribute);

#[derive(Deserialize)]
struct UiTag {
    key: String,
    #[serde(rename = "type")]
    kind: Option<Kind>,
    #[serde(default)]
    value: Json,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    String,
    Bool,
    Int64,
    Float64,
    Binary,
}

/// The value is not of the type that is named beside it.
#[derive(Debug, thiserror::Error)]
#[error("tag {key:?} is no {kind}")]
pub(super) struct WrongType {
    key: String,
    kind: String,
}

impl TryFrom<UiTag> for Tag {
    type Error = WrongType;

    fn try_from(UiTag { key, kind, value }: UiTag) -> Result<Self, WrongType> {
        let read = match kind {
            Some(kind) => typed(kind, value),
            None => untyped(value),
        };
        match read {
            Some(value) => Ok(Self(Attribute { key, value })),
            None => {
                let kind = kind.map_or_else(|| "value".to_owned(), |kind| format!("{kind:?}").to_lowercase());
                Err(WrongType { key, kind })
            }
        }
    }
}

/// Numbers and flags may be texts: JavaScript has no integers of 64 bits, JSON none that is not a number, and some
/// stores of Jaeger's keep everything as text.
fn typed(kind: Kind, value: Json) -> Option<Value> {
    match (kind, value) {
        (Kind::String, Json::String(text)) => Some(Value::String(text)),
        (Kind::Bool, Json::Bool(flag)) => Some(Value::Bool(flag)),
        (Kind::Bool, Json::String(text)) => text.parse().ok().map(Value::Bool),
        (Kind::Int64, Json::Number(number)) => number.as_i64().map(Value::Int),
        (Kind::Int64, Json::String(text)) => text.parse().ok().map(Value::Int),
        (Kind::Float64, Json::Number(number)) => number.as_f64().map(Value::Double),
        (Kind::Float64, Json::String(text)) => text.parse().ok().map(Value::Double),
        (Kind::Binary, Json::String(text)) => STANDARD.decode(text).ok().map(Value::Bytes),
        _ => None,
    }
}

/// Files that people write by hand leave the type out.
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
