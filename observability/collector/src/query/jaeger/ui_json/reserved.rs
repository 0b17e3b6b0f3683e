//! Tags for fields of OTLP: scope, kind, status, trace state, event name. They are removed from the attributes; a tag with
//! such a key but without a valid value stays an attribute.

use crate::trace::{Attribute, Kind, Status, StatusCode, Value};

/// Removes name and version of the scope: the first tags of their keys, because Jaeger writes them before the attributes.
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

/// Removes the status. Without `otel.status_code`, as from OpenTracing, `error` alone sets it.
pub(super) fn status(tags: &mut Vec<Attribute>) -> Status {
    let known = |value: &Value| match value.as_str()? {
        "OK" => Some(StatusCode::Ok),
        "ERROR" => Some(StatusCode::Error),
        _ => None,
    };
    let is_true =
        |value: &Value| (*value == Value::Bool(true) || value.as_str() == Some("true")).then_some(());
    let declared = last(tags, "otel.status_code", known);
    let code = match declared {
        Some(StatusCode::Ok) => StatusCode::Ok,
        declared => last(tags, "error", is_true).map(|()| StatusCode::Error).or(declared).unwrap_or_default(),
    };
    Status { code, unknown_code: 0, message: last(tags, "otel.status_description", text).unwrap_or_default() }
}

pub(super) fn trace_state(tags: &mut Vec<Attribute>) -> String {
    last(tags, "w3c.tracestate", text).unwrap_or_default()
}

/// Removes the event's name. If there are several tags `event`, all stay attributes, since any could be the name.
pub(super) fn event_name(fields: &mut Vec<Attribute>) -> String {
    let is_single = fields.iter().filter(|field| field.key == "event").count() == 1;
    if is_single { last(fields, "event", text).unwrap_or_default() } else { String::new() }
}

fn text(value: &Value) -> Option<String> {
    value.as_str().filter(|text| !text.is_empty()).map(str::to_owned)
}

/// Removes the last tag of a key with a valid value, because Jaeger writes these after the attributes.
fn last<T>(tags: &mut Vec<Attribute>, key: &str, known: impl Fn(&Value) -> Option<T>) -> Option<T> {
    let mut backwards = tags.iter().enumerate().rev().filter(|(_, tag)| tag.key == key);
    let (index, found) = backwards.find_map(|(index, tag)| Some((index, known(&tag.value)?)))?;
    tags.remove(index);
    Some(found)
}
