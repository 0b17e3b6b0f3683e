//! OTLP JSON as Jaeger writes it: without fields that have their default value. The `serde` support of
//! `opentelemetry-proto` writes them, so they are removed from its output.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Value as Json, json};

use crate::otlp::resource_spans;
use crate::query::streaming::LazySeq;
use crate::trace::Trace;

/// Returns `{"result":{"resourceSpans":[…]}}` of the traces. They are converted one by one while they are written, since the
/// JSON value of a trace takes several times its encoded size.
pub(super) fn result(traces: impl Iterator<Item = Trace>) -> impl Serialize {
    let resource_spans = traces.flat_map(|trace| resource_spans(&trace)).map(|group| {
        let mut group = json!(group);
        drop_defaults(&mut group);
        group
    });
    BTreeMap::from([("result", BTreeMap::from([("resourceSpans", LazySeq::new(resource_spans))]))])
}

fn drop_defaults(json: &mut Json) {
    match json {
        Json::Array(list) => list.iter_mut().for_each(drop_defaults),
        Json::Object(fields) => {
            fields.values_mut().for_each(drop_defaults);
            fields.retain(|name, value| is_variant(name) || !is_default(name, value));
        }
        _ => {}
    }
}

/// Returns whether a field is the value of an attribute. It is written even if it is empty, because its name is the type.
fn is_variant(name: &str) -> bool {
    matches!(name, "stringValue" | "boolValue" | "intValue" | "doubleValue" | "bytesValue")
}

fn is_default(name: &str, value: &Json) -> bool {
    match value {
        Json::Null => true,
        Json::Number(number) => number.as_u64() == Some(0),
        Json::String(text) => text.is_empty() || (name.ends_with("UnixNano") && text == "0"),
        Json::Array(list) => list.is_empty(),
        Json::Bool(_) | Json::Object(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::trace::{Attribute, Value};

    #[test]
    fn writes_values_nested_deeper_than_the_parser_accepts() {
        let mut span = crate::fixture::span((1, 0, 0, 1));
        let deep = (0..45).fold(Value::Bool(true), |value, _| Value::Array(vec![value]));
        span.attributes = vec![Attribute { key: "deep".to_owned(), value: deep }];
        let text = serde_json::to_string(&result(std::iter::once(Trace { spans: vec![span] }))).unwrap();
        assert_eq!(text.matches("arrayValue").count(), 45);
    }

    #[test]
    fn omits_empty_fields_but_not_empty_values() {
        let values = json!([
            { "key": "s", "value": { "stringValue": "" } },
            { "key": "b", "value": { "boolValue": false } },
            { "key": "i", "value": { "intValue": "0" } },
            { "key": "d", "value": { "doubleValue": 0.0 } },
        ]);
        let mut message = json!({
            "name": "0", "traceState": "", "flags": 0, "links": [], "startTimeUnixNano": "0",
            "endTimeUnixNano": "7", "status": { "message": "", "code": 0 }, "entity": null, "attributes": values,
        });
        drop_defaults(&mut message);
        let expected = json!({ "name": "0", "endTimeUnixNano": "7", "status": {}, "attributes": values });
        assert_eq!(message, expected);
    }
}
