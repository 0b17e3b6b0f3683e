//! Tags that stand for what has a place of its own in OTLP. What is there is taken out of the attributes; a tag of such
//! a key with a value that says nothing stays, as one that its sender made.

use crate::trace::{Attribute, Kind, Status, StatusCode, Value};

/// Name and version of the library: the first of their keys, for they come before the sender's own.
pub(super) fn scope(tags: &mut Vec<Attribute>) -> (String, String) {
    let mut first = |key: &str| {
        let index = tags.iter().position(|tag| tag.key == key && text(&tag.value).is_some());
        index.and_then(|index| text(&tags.remove(index).value)).unwrap_or_default()
    };
    (first("otel.scope.name"), first("otel.scope.version"))
}

pub(super) fn kind(tags: &mut Vec<Attribute>) -> Kind {
    let known = |value: &Value| match value.as_str()? {
        "internal" => Some(Kind::Internal),
        "server" => Some(Kind::Server),
        "client" => Some(Kind::Client),
        "producer" => Some(Kind::Producer),
        "consumer" => Some(Kind::Consumer),
        _ => None,
    };
    last(tags, "span.kind", known).unwrap_or_default()
}

/// `error` alone says it too: OpenTracing had no more.
pub(super) fn status(tags: &mut Vec<Attribute>) -> Status {
    let known = |value: &Value| match value.as_str()? {
        "OK" => Some(StatusCode::Ok),
        "ERROR" => Some(StatusCode::Error),
        _ => None,
    };
    let is_true =
        |value: &Value| (*value == Value::Bool(true) || value.as_str() == Some("true")).then_some(());
    let said = last(tags, "otel.status_code", known);
    let code = match said {
        Some(StatusCode::Ok) => StatusCode::Ok,
        said => last(tags, "error", is_true).map(|()| StatusCode::Error).or(said).unwrap_or_default(),
    };
    Status { code, message: last(tags, "otel.status_description", text).unwrap_or_default() }
}

pub(super) fn trace_state(tags: &mut Vec<Attribute>) -> String {
    last(tags, "w3c.tracestate", text).unwrap_or_default()
}

/// Two of them are two attributes: nothing tells which is the name.
pub(super) fn event_name(fields: &mut Vec<Attribute>) -> String {
    let is_single = fields.iter().filter(|field| field.key == "event").count() == 1;
    if is_single { last(fields, "event", text).unwrap_or_default() } else { String::new() }
}

fn text(value: &Value) -> Option<String> {
    value.as_str().filter(|text| !text.is_empty()).map(str::to_owned)
}

/// Takes out the last that is known, for Jaeger writes these behind the sender's own.
fn last<T>(tags: &mut Vec<Attribute>, key: &str, known: impl Fn(&Value) -> Option<T>) -> Option<T> {
    let mut backwards = tags.iter().enumerate().rev().filter(|(_, tag)| tag.key == key);
    let (index, found) = backwards.find_map(|(index, tag)| Some((index, known(&tag.value)?)))?;
    tags.remove(index);
    Some(found)
}
