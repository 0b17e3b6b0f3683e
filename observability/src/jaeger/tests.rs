use std::sync::Arc;

use axum::body::Body;
use axum::http::Request;
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use tower::ServiceExt as _;

use super::*;
use crate::ingest::Transport;

/// What Jaeger 2.20 itself was sent, and what it answered.
const MESSAGE: &str = r#"{"resourceSpans": [{"resource": {"attributes": [{"key": "service.name", "value": {"stringValue": "frontend"}}, {"key": "host.name", "value": {"stringValue": "h1"}}]}, "scopeSpans": [{"scope": {"name": "lib", "version": "1.0"}, "spans": [{"traceId": "5b8efff798038103d269b633813fc60c", "spanId": "eee19b7ec3c1b174", "name": "GET /cart", "kind": 2, "startTimeUnixNano": "1795455811000000000", "endTimeUnixNano": "1795455811005000000", "attributes": [{"key": "http.method", "value": {"stringValue": "GET"}}, {"key": "http.status_code", "value": {"intValue": "500"}}], "status": {"code": 2, "message": "boom"}, "events": [{"timeUnixNano": "1795455811001000000", "name": "exception", "attributes": [{"key": "exception.type", "value": {"stringValue": "Timeout"}}]}]}]}]}, {"resource": {"attributes": [{"key": "service.name", "value": {"stringValue": "cart"}}, {"key": "host.name", "value": {"stringValue": "h1"}}]}, "scopeSpans": [{"scope": {"name": "lib", "version": "1.0"}, "spans": [{"traceId": "5b8efff798038103d269b633813fc60c", "spanId": "eee19b7ec3c1b175", "parentSpanId": "eee19b7ec3c1b174", "name": "lookup", "kind": 2, "startTimeUnixNano": "1795455811000500000", "endTimeUnixNano": "1795455811004500000", "links": [{"traceId": "0af7651916cd43dd8448eb211c80319c", "spanId": "b7ad6b7169203331"}], "status": {}}]}]}]}"#;
const ANSWER: &str = r#"{"data":[{"traceID":"5b8efff798038103d269b633813fc60c","spans":[{"traceID":"5b8efff798038103d269b633813fc60c","spanID":"eee19b7ec3c1b174","operationName":"GET /cart","references":[],"startTime":1795455811000000,"duration":5000,"tags":[{"key":"otel.scope.name","type":"string","value":"lib"},{"key":"otel.scope.version","type":"string","value":"1.0"},{"key":"http.method","type":"string","value":"GET"},{"key":"http.status_code","type":"int64","value":500},{"key":"span.kind","type":"string","value":"server"},{"key":"otel.status_code","type":"string","value":"ERROR"},{"key":"error","type":"bool","value":true},{"key":"otel.status_description","type":"string","value":"boom"}],"logs":[{"timestamp":1795455811001000,"fields":[{"key":"event","type":"string","value":"exception"},{"key":"exception.type","type":"string","value":"Timeout"}]}],"processID":"p1","warnings":null},{"traceID":"5b8efff798038103d269b633813fc60c","spanID":"eee19b7ec3c1b175","operationName":"lookup","references":[{"refType":"CHILD_OF","traceID":"5b8efff798038103d269b633813fc60c","spanID":"eee19b7ec3c1b174"},{"refType":"FOLLOWS_FROM","traceID":"0af7651916cd43dd8448eb211c80319c","spanID":"b7ad6b7169203331"}],"startTime":1795455811000500,"duration":4000,"tags":[{"key":"otel.scope.name","type":"string","value":"lib"},{"key":"otel.scope.version","type":"string","value":"1.0"},{"key":"span.kind","type":"string","value":"server"}],"logs":[],"processID":"p2","warnings":null}],"processes":{"p1":{"serviceName":"frontend","tags":[{"key":"host.name","type":"string","value":"h1"}]},"p2":{"serviceName":"cart","tags":[{"key":"host.name","type":"string","value":"h1"}]}},"warnings":null}],"total":0,"limit":0,"offset":0,"errors":null}"#;

fn collecting(message: &Value) -> Router {
    let ingest = Arc::new(Ingest::new(1 << 20, None));
    ingest.accept(serde_json::from_value(message.clone()).unwrap(), Transport::Http);
    router(ingest)
}

async fn get(router: &Router, path: &str) -> (u16, Value) {
    let request = Request::get(path).body(Body::empty()).unwrap();
    let response = router.clone().oneshot(request).await.unwrap();
    let status = response.status().as_u16();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (status, serde_json::from_slice(&body).unwrap())
}

/// The one span of a message with these additions to it.
async fn shown(trace_id: &str, additions: Value) -> Value {
    let mut span = json!({ "traceId": trace_id, "spanId": "1", "name": "x" });
    span["spanId"] = json!("00000000000000aa");
    span.as_object_mut().unwrap().extend(additions.as_object().unwrap().clone());
    let message = json!({ "resourceSpans": [{ "scopeSpans": [{ "spans": [span] }] }] });
    let (status, reply) = get(&collecting(&message), &format!("/api/traces/{trace_id}")).await;
    assert_eq!(status, 200);
    reply["data"][0].clone()
}

const ID: &str = "5b8efff798038103d269b633813fc60c";

#[tokio::test]
async fn a_trace_looks_as_jaeger_shows_it() {
    let router = collecting(&serde_json::from_str(MESSAGE).unwrap());
    let expected: Value = serde_json::from_str(ANSWER).unwrap();
    assert_eq!(get(&router, &format!("/api/traces/{ID}")).await, (200, expected));
}

#[tokio::test]
async fn services_come_sorted_in_both_shapes() {
    let router = collecting(&serde_json::from_str(MESSAGE).unwrap());
    let v1 = json!({ "data": ["cart", "frontend"], "total": 2, "limit": 0, "offset": 0, "errors": null });
    assert_eq!(get(&router, "/api/services").await, (200, v1));
    assert_eq!(get(&router, "/api/v3/services").await, (200, json!({ "services": ["cart", "frontend"] })));
    let empty = collecting(&json!({}));
    assert_eq!(get(&empty, "/api/services").await.1["data"], json!([]));
    assert_eq!(get(&empty, "/api/v3/services").await.1, json!({ "services": [] }));
}

#[tokio::test]
async fn what_is_not_there_and_what_is_no_id_have_jaegers_error_shapes() {
    let router = collecting(&json!({}));
    let errors = json!([{ "code": 404, "msg": "trace not found" }]);
    let absent = json!({ "data": null, "total": 0, "limit": 0, "offset": 0, "errors": errors });
    assert_eq!(get(&router, "/api/traces/1").await, (404, absent));
    for id in ["zzz", "-1", "123456789012345678901234567890123"] {
        let (status, reply) = get(&router, &format!("/api/traces/{id}")).await;
        assert_eq!((status, &reply["errors"][0]["code"]), (400, &json!(400)), "{id}");
    }
}

#[tokio::test]
async fn short_ids_are_shown_short_and_found_padded_or_not() {
    let short = "00000000000000000000000000000011";
    let trace = shown(short, json!({})).await;
    assert_eq!(trace["traceID"], "0000000000000011");
    let message = json!({ "resourceSpans": [{ "scopeSpans": [{ "spans": [
        { "traceId": short, "spanId": "00000000000000aa", "name": "x" },
    ] }] }] });
    let router = collecting(&message);
    for path in ["/api/traces/11", "/api/traces/0000000000000011", &format!("/api/traces/{short}")] {
        assert_eq!(get(&router, path).await.0, 200, "{path}");
    }
}

#[tokio::test]
async fn attributes_keep_their_types_and_come_sorted() {
    let values = json!([
        { "key": "g", "value": { "kvlistValue": { "values": [{ "key": "a", "value": { "intValue": 1 } }] } } },
        { "key": "f", "value": { "arrayValue": { "values": [{ "stringValue": "x" }, { "boolValue": true }] } } },
        { "key": "e", "value": { "bytesValue": "AP8H" } },
        { "key": "d", "value": { "doubleValue": 0.5 } },
        { "key": "c", "value": { "intValue": "9007199254740993" } },
        { "key": "b", "value": { "intValue": "-9007199254740991" } },
        { "key": "a", "value": { "boolValue": false } },
    ]);
    let trace = shown(ID, json!({ "attributes": values })).await;
    let expected = json!([
        { "key": "a", "type": "bool", "value": false },
        { "key": "b", "type": "int64", "value": -9_007_199_254_740_991_i64 },
        { "key": "c", "type": "int64", "value": "9007199254740993" },
        { "key": "d", "type": "float64", "value": 0.5 },
        { "key": "e", "type": "binary", "value": "AP8H" },
        { "key": "f", "type": "string", "value": "[\"x\",true]" },
        { "key": "g", "type": "string", "value": "{\"a\":1}" },
    ]);
    assert_eq!(trace["spans"][0]["tags"], expected);
}

#[tokio::test]
async fn links_statuses_and_odd_times_are_translated() {
    let child_of = json!([{ "key": "opentracing.ref_type", "value": { "stringValue": "child_of" } }]);
    let links = json!([
        { "traceId": ID, "spanId": "00000000000000bb", "attributes": child_of },
        { "traceId": "", "spanId": "00000000000000cc" },
    ]);
    let times = json!({ "startTimeUnixNano": "1999", "endTimeUnixNano": "999" });
    let trace = shown(
        ID,
        json!({ "links": links, "status": { "code": 1 }, "kind": 5,
        "startTimeUnixNano": times["startTimeUnixNano"], "endTimeUnixNano": times["endTimeUnixNano"] }),
    )
    .await;
    let span = &trace["spans"][0];
    let reference = json!({ "refType": "CHILD_OF", "traceID": ID, "spanID": "00000000000000bb" });
    assert_eq!(span["references"], json!([reference]), "a link without a trace id is dropped");
    let tags = json!([
        { "key": "span.kind", "type": "string", "value": "consumer" },
        { "key": "otel.status_code", "type": "string", "value": "OK" },
    ]);
    assert_eq!(span["tags"], tags);
    assert_eq!((&span["startTime"], &span["duration"]), (&json!(1), &json!(0)), "a clock that stepped back");
}

#[tokio::test]
async fn a_span_sent_twice_is_shown_once() {
    let ingest = Arc::new(Ingest::new(1 << 20, None));
    for _ in 0..2 {
        ingest.accept(serde_json::from_str(MESSAGE).unwrap(), Transport::Grpc);
    }
    let (_, reply) = get(&router(ingest), &format!("/api/traces/{ID}")).await;
    assert_eq!(reply["data"][0]["spans"].as_array().map(Vec::len), Some(2));
}
