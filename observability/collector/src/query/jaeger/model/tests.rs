use serde_json::{Value, json};

use crate::query::jaeger::tests::{ID, get, router_with};

/// Returns the trace of a span with the given fields, as `/api/traces` shows it.
async fn ui_trace(trace_id: &str, fields: Value) -> Value {
    let mut span = json!({ "traceId": trace_id, "spanId": "00000000000000aa", "name": "x" });
    span.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    let message = json!({ "resourceSpans": [{ "scopeSpans": [{ "spans": [span] }] }] });
    let (status, reply) = get(&router_with(&message), &format!("/api/traces/{trace_id}")).await;
    assert_eq!(status, 200);
    reply["data"][0].clone()
}

#[tokio::test]
async fn shortens_64_bit_ids_and_finds_them_with_and_without_padding() {
    let short = "00000000000000000000000000000011";
    let trace = ui_trace(short, json!({})).await;
    assert_eq!(trace["traceID"], "0000000000000011");
    let message = json!({ "resourceSpans": [{ "scopeSpans": [{ "spans": [
        { "traceId": short, "spanId": "00000000000000aa", "name": "x" },
    ] }] }] });
    let router = router_with(&message);
    for path in ["/api/traces/11", "/api/traces/0000000000000011", &format!("/api/traces/{short}")] {
        assert_eq!(get(&router, path).await.0, 200, "{path}");
    }
}

#[tokio::test]
async fn converts_attributes_by_type_and_sorts_them() {
    let values = json!([
        { "key": "g", "value": { "kvlistValue": { "values": [{ "key": "a", "value": { "intValue": 1 } }] } } },
        { "key": "f", "value": { "arrayValue": { "values": [{ "stringValue": "x" }, { "doubleValue": 1e16 }] } } },
        { "key": "e", "value": { "bytesValue": "AP8H" } },
        { "key": "d", "value": { "doubleValue": 0.5 } },
        { "key": "c", "value": { "intValue": "9007199254740993" } },
        { "key": "b", "value": { "intValue": "-9007199254740991" } },
        { "key": "a", "value": { "boolValue": false } },
    ]);
    let trace = ui_trace(ID, json!({ "attributes": values })).await;
    let expected = json!([
        { "key": "a", "type": "bool", "value": false },
        { "key": "b", "type": "int64", "value": -9_007_199_254_740_991_i64 },
        { "key": "c", "type": "int64", "value": "9007199254740993" },
        { "key": "d", "type": "float64", "value": 0.5 },
        { "key": "e", "type": "binary", "value": "AP8H" },
        { "key": "f", "type": "string", "value": "[\"x\",10000000000000000]" },
        { "key": "g", "type": "string", "value": "{\"a\":1}" },
    ]);
    assert_eq!(trace["spans"][0]["tags"], expected);
}

#[tokio::test]
async fn converts_links_status_and_negative_durations() {
    let child_of = json!([{ "key": "opentracing.ref_type", "value": { "stringValue": "child_of" } }]);
    let links = json!([
        { "traceId": ID, "spanId": "00000000000000bb", "attributes": child_of },
        { "traceId": "", "spanId": "00000000000000cc" },
    ]);
    let times = json!({ "startTimeUnixNano": "1999", "endTimeUnixNano": "999" });
    let trace = ui_trace(
        ID,
        json!({ "links": links, "status": { "code": 1 }, "kind": 5,
        "startTimeUnixNano": times["startTimeUnixNano"], "endTimeUnixNano": times["endTimeUnixNano"] }),
    )
    .await;
    let span = &trace["spans"][0];
    let reference = json!({ "refType": "CHILD_OF", "traceID": ID, "spanID": "00000000000000bb" });
    assert_eq!(span["references"], json!([reference]), "the link without a trace id is removed");
    let tags = json!([
        { "key": "span.kind", "type": "string", "value": "consumer" },
        { "key": "otel.status_code", "type": "string", "value": "OK" },
    ]);
    assert_eq!(span["tags"], tags);
    assert_eq!(
        (&span["startTime"], &span["duration"]),
        (&json!(1), &json!(0)),
        "the end is before the start"
    );
}

#[tokio::test]
async fn a_span_that_links_to_its_parent_stays_its_child_unless_the_link_says_follows_from() {
    let parent = "00000000000000bb";
    let other = json!({ "traceId": ID, "spanId": "00000000000000cc" });
    let marked = |mark: &str| json!([{ "key": "opentracing.ref_type", "value": { "stringValue": mark } }]);
    for (attributes, expected) in
        [(json!([]), "CHILD_OF"), (marked("child_of"), "CHILD_OF"), (marked("follows_from"), "FOLLOWS_FROM")]
    {
        let to_parent = json!({ "traceId": ID, "spanId": parent, "attributes": attributes });
        let trace = ui_trace(ID, json!({ "parentSpanId": parent, "links": [other, to_parent] })).await;
        let expected = json!([
            { "refType": expected, "traceID": ID, "spanID": parent },
            { "refType": "FOLLOWS_FROM", "traceID": ID, "spanID": "00000000000000cc" },
        ]);
        assert_eq!(trace["spans"][0]["references"], expected);
    }
}

#[tokio::test]
async fn an_event_name_becomes_a_field_unless_an_attribute_has_its_key() {
    let attribute = json!({ "key": "event", "value": { "stringValue": "mine" } });
    let events = json!([
        { "timeUnixNano": "2000", "name": "yours", "attributes": [attribute] },
        { "timeUnixNano": "1000", "name": "named" },
        { "timeUnixNano": "3000" },
    ]);
    let trace = ui_trace(ID, json!({ "events": events })).await;
    let field = |text: &str| json!([{ "key": "event", "type": "string", "value": text }]);
    let expected = json!([
        { "timestamp": 1, "fields": field("named") },
        { "timestamp": 2, "fields": field("mine") },
        { "timestamp": 3, "fields": [] },
    ]);
    assert_eq!(trace["spans"][0]["logs"], expected);
}

#[tokio::test]
async fn equal_resources_share_a_process() {
    let of = |service: &str, id: u8| {
        let name = json!({ "key": "service.name", "value": { "stringValue": service } });
        let span = json!({ "traceId": ID, "spanId": format!("{id:016x}"), "name": "x" });
        json!({ "resource": { "attributes": [name] }, "scopeSpans": [{ "spans": [span] }] })
    };
    let router = router_with(&json!({ "resourceSpans": [of("a", 1), of("b", 2), of("a", 3)] }));
    let (_, reply) = get(&router, &format!("/api/traces/{ID}")).await;
    let trace = &reply["data"][0];
    let processes: Vec<_> =
        trace["spans"].as_array().unwrap().iter().map(|span| &span["processID"]).collect();
    assert_eq!(processes, ["p1", "p2", "p1"]);
    let process = |service: &str| json!({ "serviceName": service, "tags": [] });
    assert_eq!(trace["processes"], json!({ "p1": process("a"), "p2": process("b") }));
}
