//! Tests of both versions, and fixtures for the tests of each.

use std::sync::Arc;

use axum::body::Body;
use axum::http::Request;
use http_body_util::BodyExt as _;
use proptest::prelude::*;
use serde_json::{Value, json};
use tower::ServiceExt as _;

use super::error::ApiError;
use super::*;
use crate::ingest::Transport;

pub(super) const ID: &str = "5b8efff798038103d269b633813fc60c";

/// A window around the spans of [`MESSAGE`].
pub(super) const WINDOW: &str = "start=1795452241000000&end=1795455841000000";
pub(super) const WINDOW_V3: &str =
    "query.startTimeMin=2026-11-23T16:44:01Z&query.startTimeMax=2026-11-23T17:44:01Z";

/// An OTLP message, and the response of Jaeger 2.20 to `/api/traces/{id}` after it was sent.
pub(super) const MESSAGE: &str = r#"{"resourceSpans": [{"resource": {"attributes": [{"key": "service.name", "value": {"stringValue": "frontend"}}, {"key": "host.name", "value": {"stringValue": "h1"}}]}, "scopeSpans": [{"scope": {"name": "lib", "version": "1.0"}, "spans": [{"traceId": "5b8efff798038103d269b633813fc60c", "spanId": "eee19b7ec3c1b174", "name": "GET /cart", "kind": 2, "startTimeUnixNano": "1795455811000000000", "endTimeUnixNano": "1795455811005000000", "attributes": [{"key": "http.method", "value": {"stringValue": "GET"}}, {"key": "http.status_code", "value": {"intValue": "500"}}], "status": {"code": 2, "message": "boom"}, "events": [{"timeUnixNano": "1795455811001000000", "name": "exception", "attributes": [{"key": "exception.type", "value": {"stringValue": "Timeout"}}]}]}]}]}, {"resource": {"attributes": [{"key": "service.name", "value": {"stringValue": "cart"}}, {"key": "host.name", "value": {"stringValue": "h1"}}]}, "scopeSpans": [{"scope": {"name": "lib", "version": "1.0"}, "spans": [{"traceId": "5b8efff798038103d269b633813fc60c", "spanId": "eee19b7ec3c1b175", "parentSpanId": "eee19b7ec3c1b174", "name": "lookup", "kind": 2, "startTimeUnixNano": "1795455811000500000", "endTimeUnixNano": "1795455811004500000", "links": [{"traceId": "0af7651916cd43dd8448eb211c80319c", "spanId": "b7ad6b7169203331"}], "status": {}}]}]}]}"#;
pub(super) const ANSWER: &str = r#"{"data":[{"traceID":"5b8efff798038103d269b633813fc60c","spans":[{"traceID":"5b8efff798038103d269b633813fc60c","spanID":"eee19b7ec3c1b174","operationName":"GET /cart","references":[],"startTime":1795455811000000,"duration":5000,"tags":[{"key":"otel.scope.name","type":"string","value":"lib"},{"key":"otel.scope.version","type":"string","value":"1.0"},{"key":"http.method","type":"string","value":"GET"},{"key":"http.status_code","type":"int64","value":500},{"key":"span.kind","type":"string","value":"server"},{"key":"otel.status_code","type":"string","value":"ERROR"},{"key":"error","type":"bool","value":true},{"key":"otel.status_description","type":"string","value":"boom"}],"logs":[{"timestamp":1795455811001000,"fields":[{"key":"event","type":"string","value":"exception"},{"key":"exception.type","type":"string","value":"Timeout"}]}],"processID":"p1","warnings":null},{"traceID":"5b8efff798038103d269b633813fc60c","spanID":"eee19b7ec3c1b175","operationName":"lookup","references":[{"refType":"CHILD_OF","traceID":"5b8efff798038103d269b633813fc60c","spanID":"eee19b7ec3c1b174"},{"refType":"FOLLOWS_FROM","traceID":"0af7651916cd43dd8448eb211c80319c","spanID":"b7ad6b7169203331"}],"startTime":1795455811000500,"duration":4000,"tags":[{"key":"otel.scope.name","type":"string","value":"lib"},{"key":"otel.scope.version","type":"string","value":"1.0"},{"key":"span.kind","type":"string","value":"server"}],"logs":[],"processID":"p2","warnings":null}],"processes":{"p1":{"serviceName":"frontend","tags":[{"key":"host.name","type":"string","value":"h1"}]},"p2":{"serviceName":"cart","tags":[{"key":"host.name","type":"string","value":"h1"}]}},"warnings":null}],"total":0,"limit":0,"offset":0,"errors":null}"#;

pub(super) fn router_with(message: &Value) -> Router {
    let ingest = Arc::new(Ingest::new(1 << 20, None));
    let (message, _) = crate::otlp::json_to_protobuf(message.to_string().as_bytes()).unwrap();
    ingest.accept(&message, Transport::Http).unwrap();
    router(ingest, Adjuster::default())
}

/// A router over a store with [`MESSAGE`].
pub(super) fn example() -> Router {
    router_with(&serde_json::from_str(MESSAGE).unwrap())
}

pub(super) async fn get(router: &Router, path: &str) -> (u16, Value) {
    let (status, body) = send(router, Request::get(path).body(Body::empty()).unwrap()).await;
    (status, serde_json::from_slice(&body).unwrap_or_else(|error| panic!("{error}: {path}")))
}

pub(super) async fn send(router: &Router, request: Request<Body>) -> (u16, Vec<u8>) {
    let response = router.clone().oneshot(request).await.unwrap();
    let status = response.status().as_u16();
    (status, response.into_body().collect().await.unwrap().to_bytes().to_vec())
}

#[tokio::test]
async fn answers_404_on_unknown_paths_with_any_method() {
    let router = example();
    for path in ["/api", "/api/", "/api/nosuch", "/api/v3/nosuch", "/api/traces/1/2", "/api/services/"] {
        for method in ["GET", "POST", "DELETE"] {
            let request = Request::builder().method(method).uri(path).body(Body::empty()).unwrap();
            let (status, body) = send(&router, request).await;
            assert_eq!(
                (status, body.as_slice()),
                (404, b"404 page not found\n".as_slice()),
                "{method} {path}"
            );
        }
    }
}

#[tokio::test]
async fn hides_the_cause_of_an_internal_error() {
    let error =
        respond::search(|_| -> Result<(), ApiError> { panic!("the secret is 42") }).await.unwrap_err();
    assert_eq!((error.status, error.message.as_str()), (StatusCode::INTERNAL_SERVER_ERROR, "internal error"));
}

/// Every path with its required parameters.
const PATHS: [&str; 15] = [
    "/api/services?x=1",
    "/api/services/s/operations?x=1",
    "/api/operations?service=s",
    "/api/traces?service=s",
    "/api/traces/1?x=1",
    "/api/dependencies?x=1",
    "/api/metrics/latencies?service=frontend&quantile=0.5",
    "/api/metrics/calls?service=frontend",
    "/api/metrics/errors?service=frontend",
    "/api/metrics/minstep?x=1",
    "/api/v3/operations?service=s",
    "/api/v3/traces?query.startTimeMin=2026-11-23T16:44:01Z&query.startTimeMax=2026-11-23T17:44:01Z",
    "/api/v3/traces/1?x=1",
    "/api/v3/trace-summaries?query.startTimeMin=2026-11-23T16:44:01Z&query.startTimeMax=2026-11-23T17:44:01Z",
    "/api/v3/services?x=1",
];

#[tokio::test]
async fn rejects_undecodable_queries_in_the_error_format_of_each_version() {
    let router = example();
    for path in PATHS {
        for rest in ["a=%", "a=%zz", "a=%ff", "a=%00", "%C3=1"] {
            // Version 3's list of services has no parameters.
            let expected = if path.starts_with("/api/v3/services") { 200 } else { 400 };
            let (status, reply) = get(&router, &format!("{path}&{rest}")).await;
            assert_eq!(status, expected, "{path}&{rest}: {reply}");
            if expected == 400 {
                let version_3 = path.starts_with("/api/v3");
                let code = if version_3 { &reply["error"]["httpCode"] } else { &reply["errors"][0]["code"] };
                assert_eq!(code, &json!(400), "{reply}");
            }
        }
    }
}

/// Valid and random names with plausible and random values.
fn parameter() -> impl Strategy<Value = String> {
    let name = prop_oneof![
        proptest::sample::select(vec![
            "service",
            "operation",
            "start",
            "end",
            "limit",
            "minDuration",
            "maxDuration",
            "tag",
            "tags",
            "traceID",
            "raw",
            "prettyPrint",
            "endTs",
            "lookback",
            "spanKind",
            "quantile",
            "groupByOperation",
            "step",
            "ratePer",
            "span_kind",
            "startTime",
            "end_time",
            "rawTraces",
            "query.serviceName",
            "query.operation_name",
            "query.attributes",
            "query.startTimeMin",
            "query.start_time_max",
            "query.searchDepth",
            "query.num_traces",
            "query.durationMin",
            "query.duration_max",
            "query.rawTraces",
        ])
        .prop_map(str::to_owned),
        "[a-z.%+=]{0,8}",
    ];
    let value = prop_oneof![
        "[!-~&&[^#<>\"\\\\^`{|}]]{0,24}",
        "-?[0-9]{1,22}",
        "[0-9]{1,20}(ns|us|%C2%B5s|ms|s|m|h)?",
        "[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}([.][0-9]{1,12})?(Z|%2B[0-9]{2}:[0-9]{2})",
        "%7B%22[a-z%]{0,6}%22:%22[a-z%]{0,6}%22%7D",
        "[0-9a-f]{0,34}",
        "(%[0-9A-Fa-f]{2}){0,8}",
    ];
    (name, value).prop_map(|(name, value)| format!("{name}={value}"))
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_query_string_causes_a_panic_or_a_server_error(
        path in proptest::sample::select(PATHS.to_vec()),
        parameters in proptest::collection::vec(parameter(), 0..6),
    ) {
        // An invalid URI does not reach the router.
        if let Ok(request) = Request::get(format!("{path}&{}", parameters.join("&"))).body(Body::empty()) {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
            let (status, body) = runtime.block_on(send(&example(), request));
            prop_assert!([200, 400, 404].contains(&status), "{status} {:?}", String::from_utf8_lossy(&body));
            prop_assert!(serde_json::from_slice::<Value>(&body).is_ok());
        }
    }
}
