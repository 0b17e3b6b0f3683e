//! The body of a reply with traces: OTLP JSON in an object of its own.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::otlp::ResourceSpans;
use crate::query::streaming::LazySeq;
use crate::trace::Trace;

/// Returns `{"result":{"resourceSpans":[…]}}` of the traces. They are converted one by one while they are written, so that
/// memory holds one of them in another form.
pub(super) fn result(traces: impl Iterator<Item = Trace>) -> impl Serialize {
    let resource_spans = traces.flat_map(|trace| ResourceSpans::of(&trace).collect::<Vec<_>>());
    BTreeMap::from([("result", BTreeMap::from([("resourceSpans", LazySeq::new(resource_spans))]))])
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::trace::{Attribute, Value};

    fn written(attributes: Vec<Attribute>) -> String {
        let span = crate::trace::Span { attributes, ..crate::fixture::span((1, 0, 0, 1)) };
        serde_json::to_string(&result(std::iter::once(Trace { spans: vec![span] }))).unwrap()
    }

    #[test]
    fn writes_values_nested_deeper_than_the_parser_accepts() {
        let deep = (0..45).fold(Value::Bool(true), |value, _| Value::Array(vec![value]));
        let text = written(vec![Attribute { key: "deep".to_owned(), value: deep }]);
        assert_eq!(text.matches("arrayValue").count(), 45);
    }

    #[test]
    fn omits_empty_fields_but_not_empty_values() {
        let values = [
            Value::String(String::new()),
            Value::Bool(false),
            Value::Int(0),
            Value::Double(0.0),
            Value::Bytes(Vec::new()),
            Value::Array(Vec::new()),
            Value::Empty,
        ];
        let attributes = values.map(|value| Attribute { key: "k".to_owned(), value }).to_vec();
        let reply: serde_json::Value = serde_json::from_str(&written(attributes)).unwrap();
        let expected = json!([
            { "key": "k", "value": { "stringValue": "" } },
            { "key": "k", "value": { "boolValue": false } },
            { "key": "k", "value": { "intValue": "0" } },
            { "key": "k", "value": { "doubleValue": 0.0 } },
            { "key": "k", "value": { "bytesValue": "" } },
            { "key": "k", "value": { "arrayValue": {} } },
            { "key": "k" },
        ]);
        let span = json!({
            "traceId": "00000000000000000000000000000001", "spanId": "0000000000000001", "name": "operation 1",
            "kind": 1, "endTimeUnixNano": "1", "attributes": expected, "status": {}, "flags": 1,
        });
        let group = json!({ "resource": {}, "scopeSpans": [{ "scope": {}, "spans": [span] }] });
        assert_eq!(reply, json!({ "result": { "resourceSpans": [group] } }));
    }
}
