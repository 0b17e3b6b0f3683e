use std::sync::Arc;

use axum::body::Body;
use axum::http::Request;
use serde_json::{Value, json};

use crate::ingest::{Ingest, Transport};
use crate::query::jaeger::tests::{ANSWER, ID, MESSAGE, WINDOW, example, get, router_with, send};
use crate::query::jaeger::{Adjuster, router};

fn success(data: &Value, total: usize) -> Value {
    json!({ "data": data, "total": total, "limit": 0, "offset": 0, "errors": null })
}

fn failure(code: u16, msg: &str) -> Value {
    json!({ "data": null, "total": 0, "limit": 0, "offset": 0, "errors": [{ "code": code, "msg": msg }] })
}

/// Returns the ids of the traces that a search finds.
async fn found(search: &str) -> Vec<String> {
    let (status, reply) = get(&example(), &format!("/api/traces?{WINDOW}&{search}")).await;
    assert_eq!(status, 200, "{search}: {reply}");
    let traces = reply["data"].as_array().unwrap().iter();
    traces.map(|trace| trace["traceID"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn lists_services_and_operations_as_jaeger_does() {
    let router = example();
    for (path, expected) in [
        ("/api/services", success(&json!(["cart", "frontend"]), 2)),
        ("/api/services/frontend/operations", success(&json!(["GET /cart"]), 1)),
        ("/api/services/nosuch/operations", success(&Value::Null, 0)),
        (
            "/api/operations?service=frontend&spanKind=server",
            success(&json!([{ "name": "GET /cart", "spanKind": "server" }]), 1),
        ),
        ("/api/operations?service=frontend&spanKind=client", success(&json!([]), 0)),
    ] {
        assert_eq!(get(&router, path).await, (200, expected), "{path}");
    }
    assert_eq!(get(&router_with(&json!({})), "/api/services").await, (200, success(&json!([]), 0)));
}

#[tokio::test]
async fn lists_names_that_are_long_in_total() {
    // Each control character takes six bytes of JSON.
    let name = |number: u64, length| format!("{number}{}", "\u{1}".repeat(length));
    let ingest = Arc::new(Ingest::new(256 << 20, None));
    let accept = |service: &str, spans: &[Value]| {
        let attribute = json!({ "key": "service.name", "value": { "stringValue": service } });
        let of_service =
            json!({ "resource": { "attributes": [attribute] }, "scopeSpans": [{ "spans": spans }] });
        let message = json!({ "resourceSpans": [of_service] }).to_string();
        let (message, _) = crate::otlp::json_to_protobuf(message.as_bytes()).unwrap();
        assert_eq!(ingest.accept(&message, Transport::Http).unwrap(), None);
    };
    let span = |number: u64| json!({ "traceId": ID, "spanId": format!("{number:016x}"), "name": name(number, 4000) });
    accept("shop", &(1..=400).map(span).collect::<Vec<_>>());
    let services: Vec<_> = (1..=24).map(|number| name(number, 64_000)).collect();
    services.iter().for_each(|service| accept(service, &[span(1)]));

    let router = router(Arc::clone(&ingest), Adjuster::default());
    for (path, list) in [("/api/services", "data"), ("/api/v3/services", "services")] {
        let (status, reply) = get(&router, path).await;
        let listed: Vec<_> = reply[list].as_array().unwrap().iter().filter_map(Value::as_str).collect();
        assert!(status == 200 && services.iter().all(|service| listed.contains(&&**service)), "{path}");
    }
    for (path, list) in [
        ("/api/services/shop/operations", "data"),
        ("/api/operations?service=shop", "data"),
        ("/api/v3/operations?service=shop", "operations"),
    ] {
        let (status, reply) = get(&router, path).await;
        assert_eq!((status, reply[list].as_array().map(Vec::len)), (200, Some(400)), "{path}");
    }
}

#[tokio::test]
async fn lists_an_operation_of_two_kinds_once_by_name_and_twice_by_kind() {
    let name = json!({ "key": "service.name", "value": { "stringValue": "a/b c" } });
    let span = |id: u8, kind: u8| json!({ "traceId": ID, "spanId": format!("{id:016x}"), "name": "x", "kind": kind });
    let router = router_with(&json!({ "resourceSpans": [
        { "resource": { "attributes": [name] }, "scopeSpans": [{ "spans": [span(1, 0), span(2, 3)] }] },
    ] }));
    let (_, names) = get(&router, "/api/services/a%2Fb%20c/operations").await;
    assert_eq!(names, success(&json!(["x"]), 1));
    let (_, kinds) = get(&router, "/api/operations?service=a/b+c").await;
    let expected = json!([{ "name": "x", "spanKind": "" }, { "name": "x", "spanKind": "client" }]);
    assert_eq!(kinds, success(&expected, 2));
}

#[tokio::test]
async fn returns_a_trace_as_jaeger_does_by_id_and_by_search() {
    let router = example();
    let expected: Value = serde_json::from_str(ANSWER).unwrap();
    let tags = "tags=%7B%22http.status_code%22%3A%22500%22%7D&minDuration=1ms";
    for path in [
        format!("/api/traces/{ID}"),
        format!("/api/traces/{ID}?start=1&end=2&raw=true"),
        format!("/api/traces?service=frontend&limit=20&{WINDOW}&{tags}"),
        format!("/api/traces?traceID={ID}&traceID={ID}"),
    ] {
        assert_eq!(get(&router, &path).await, (200, expected.clone()), "{path}");
    }
}

#[tokio::test]
async fn lists_missing_traces_as_errors_next_to_the_stored_ones() {
    let (status, reply) = get(&example(), &format!("/api/traces?traceID={ID}&traceID=99&traceID=99")).await;
    let mut expected: Value = serde_json::from_str(ANSWER).unwrap();
    expected["errors"] = json!([{ "msg": "trace not found", "traceID": "0000000000000099" }]);
    assert_eq!((status, reply), (200, expected));
}

#[tokio::test]
async fn a_search_returns_traces_with_a_span_that_meets_all_conditions() {
    for matching in [
        "service=cart",
        "service=cart&operation=lookup",
        "service=cart&minDuration=4ms&maxDuration=4ms",
        "service=cart&minDuration=0s&maxDuration=0s",
        "service=frontend&tag=http.method:GET&tag=http.status_code:500",
        "service=frontend&tag=http.method:PUT&tag=http.method:GET",
        "service=frontend&tags=%7B%22error%22:%22true%22%7D&tags=null",
        "service=cart&service=nosuch&limit=1&limit=x",
    ] {
        assert_eq!(found(matching).await, [ID], "{matching}");
    }
    for other in [
        "service=nosuch",
        "service=frontend&operation=lookup",
        "service=cart&minDuration=4001us",
        "service=cart&maxDuration=3999us",
        "service=frontend&tag=http.method:GET:x",
        "service=frontend&tags=%7B%22http.method%22:null%7D",
    ] {
        assert!(found(other).await.is_empty(), "{other}");
    }
}

#[tokio::test]
async fn a_search_without_a_window_covers_48_hours() {
    let ago = |hours: u64| {
        let now = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap();
        (now - std::time::Duration::from_secs(hours * 3600)).as_nanos().to_string()
    };
    let span = |id: u8, hours| json!({ "traceId": format!("{id:032x}"), "spanId": "00000000000000aa", "startTimeUnixNano": ago(hours) });
    let spans = json!([span(1, 1), span(2, 47), span(3, 49)]);
    let router = router_with(&json!({ "resourceSpans": [{ "scopeSpans": [{ "spans": spans }] }] }));
    let (_, reply) = get(&router, "/api/traces?service=missing-service-name").await;
    let ids: Vec<_> = reply["data"].as_array().unwrap().iter().map(|trace| &trace["traceID"]).collect();
    assert_eq!(ids, ["0000000000000002", "0000000000000001"], "the most recently received first");
}

#[tokio::test]
async fn raw_traces_are_not_adjusted() {
    let attribute = |key: &str| json!({ "key": key, "value": { "stringValue": "" } });
    let span = json!({
        "traceId": ID, "spanId": "00000000000000aa", "attributes": [attribute("b"), attribute("a")],
        "links": [{ "spanId": "00000000000000cc" }],
    });
    let router = router_with(&json!({ "resourceSpans": [{ "scopeSpans": [{ "spans": [span] }] }] }));
    for (raw, keys, links) in [("true", ["b", "a"], 1), ("0", ["a", "b"], 0)] {
        for path in [format!("/api/traces/{ID}?raw={raw}"), format!("/api/traces?traceID={ID}&raw={raw}")] {
            let (_, reply) = get(&router, &path).await;
            let span = &reply["data"][0]["spans"][0];
            let actual: Vec<_> = span["tags"].as_array().unwrap().iter().map(|tag| &tag["key"]).collect();
            assert_eq!(actual, keys, "{path}");
            assert_eq!(span["references"].as_array().map(Vec::len), Some(links), "{path}");
        }
    }
}

#[tokio::test]
async fn returns_a_span_once_that_was_received_twice() {
    let ingest = Arc::new(Ingest::new(1 << 20, None));
    for _ in 0..2 {
        let (message, _) = crate::otlp::json_to_protobuf(MESSAGE.as_bytes()).unwrap();
        ingest.accept(&message, Transport::Grpc).unwrap();
    }
    let (_, reply) = get(&router(ingest, Adjuster::default()), &format!("/api/traces/{ID}")).await;
    assert_eq!(reply["data"][0]["spans"].as_array().map(Vec::len), Some(2));
}

#[tokio::test]
async fn dependencies_count_the_calls_in_the_window() {
    let router = example();
    let calls = json!([{ "parent": "frontend", "child": "cart", "callCount": 1 }]);
    for (query, expected) in [
        ("endTs=1795455841000&lookback=604800000", &calls),
        ("endTs=1795455841000", &calls),
        ("endTs=1795455841000&service=cart", &calls),
        ("endTs=1795455841000&service=frontend", &calls),
        ("endTs=1795455841000&service=other", &json!([])),
        ("endTs=1795455841000&lookback=1", &json!([])),
        ("endTs=1795455810000", &json!([])),
        ("endTs=-1&lookback=0", &json!([])),
    ] {
        let reply = get(&router, &format!("/api/dependencies?{query}")).await;
        assert_eq!(reply, (200, success(expected, 0)), "{query}");
    }
}

#[tokio::test]
async fn indents_by_four_as_jaeger_does_with_pretty_print() {
    for (value, expected) in [("true", true), ("1", true), ("", false), ("false", false)] {
        let request = Request::get(format!("/api/services?prettyPrint={value}")).body(Body::empty()).unwrap();
        let (_, body) = send(&example(), request).await;
        assert_eq!(body.starts_with(b"{\n    \"data\": [\n        \"cart\","), expected, "{value:?}");
    }
}

async fn transform(body: impl Into<Body>) -> (u16, Value) {
    let (status, body) = send(&example(), Request::post("/api/transform").body(body.into()).unwrap()).await;
    (status, serde_json::from_slice(&body).unwrap())
}

#[tokio::test]
async fn transforms_a_message_into_traces_without_adjusting_them() {
    assert_eq!(transform(MESSAGE).await, (200, serde_json::from_str(ANSWER).unwrap()));
    let span =
        |trace: u8, id: u8| json!({ "traceId": format!("{trace:032x}"), "spanId": format!("{id:016x}") });
    let spans = json!([span(2, 1), span(1, 1), span(2, 2), span(2, 2)]);
    let (_, reply) =
        transform(json!({ "resourceSpans": [{ "scopeSpans": [{ "spans": spans }] }] }).to_string()).await;
    let traces = reply["data"].as_array().unwrap().iter();
    let shape: Vec<_> =
        traces.map(|trace| (trace["traceID"].clone(), trace["spans"].as_array().unwrap().len())).collect();
    assert_eq!(
        shape,
        [(json!("0000000000000002"), 3), (json!("0000000000000001"), 1)],
        "duplicate spans stay"
    );
    assert_eq!(transform(r#"{"resourceSpans":[]}"#).await, (200, success(&json!([]), 0)));
}

/// With a paused clock, which advances to the next timer when all tasks wait.
#[tokio::test(start_paused = true)]
async fn refuses_a_fifth_file_while_four_are_received() {
    let router = example();
    let endless = || Body::from_stream(futures::stream::pending::<Result<&str, std::io::Error>>());
    let upload = |body: Body| send(&router, Request::post("/api/transform").body(body).unwrap());
    let mut pending: Vec<_> = (0..4).map(|_| Box::pin(upload(endless()))).collect();
    for upload in &mut pending {
        assert!(futures::poll!(upload).is_pending());
    }
    assert_eq!(upload(Body::from(MESSAGE)).await.0, 503);
    drop(pending);
    // The permit to decode files is shared with tests that run in real time.
    tokio::time::resume();
    assert_eq!(upload(Body::from(MESSAGE)).await.0, 200);
}

#[tokio::test]
async fn transform_rejects_what_is_not_otlp_json() {
    let deep = format!(r#"{{"resourceSpans":{}"#, "[".repeat(100_000));
    for body in [
        "",
        " ",
        "null",
        "7",
        "[]",
        "[[]]",
        "{",
        "not json",
        r#"{"resourceSpans":7}"#,
        r#"{"resourceSpans":[7]}"#,
        r#"{"resourceSpans":[{"scopeSpans":[{"spans":[{"traceId":"xyz"}]}]}]}"#,
        &deep,
    ] {
        let (status, reply) = transform(body.to_owned()).await;
        assert_eq!((status, &reply["errors"][0]["code"]), (400, &json!(400)), "{:.50} {reply}", body);
    }
    assert_eq!(transform(vec![0xff, 0xfe]).await.0, 400);
    assert_eq!(transform("{}".to_owned()).await.1["data"], json!([]), "a message without spans");
    let span = r#"{"traceId":"5b8efff798038103d269b633813fc60c","spanId":"eee19b7ec3c1b174","name":"MARK"}"#;
    let message = format!(r#"{{"resourceSpans":[{{"scopeSpans":[{{"spans":[{span}]}}]}}]}}"#);
    let mut cut = message.replace("MARK", r"\ud83dMARK").into_bytes();
    let at = cut.windows(4).position(|window| window == b"MARK").unwrap();
    cut[at] = 0xff;
    let (_, reply) = transform(cut).await;
    assert_eq!(reply["data"][0]["spans"][0]["operationName"], "\u{fffd}\u{fffd}ARK");
    let (status, reply) = transform(vec![b' '; crate::otlp::MAX_MESSAGE + 1]).await;
    assert_eq!((status, &reply["errors"][0]["code"]), (413, &json!(413)));
}

#[tokio::test]
async fn missing_traces_and_invalid_ids_get_jaegers_errors() {
    let router = example();
    assert_eq!(get(&router, "/api/traces/1").await, (404, failure(404, "trace not found")));
    let long = "1".repeat(33);
    for id in ["zzz", "-1", "+1", "0", "%20", "%2F", "%ff", "%00", &long] {
        for path in [format!("/api/traces/{id}"), format!("/api/traces?traceID={id}")] {
            // `+` decodes to a blank in a query, and is invalid in a path.
            let (status, reply) = get(&router, &path).await;
            assert_eq!((status, &reply["errors"][0]["code"]), (400, &json!(400)), "{path}");
        }
    }
}

fn number(name: &str, text: &str, reason: &str) -> String {
    format!("unable to parse param '{name}': strconv.ParseInt: parsing \"{text}\": {reason}")
}

fn invalid_duration(name: &str, text: &str) -> String {
    format!("unable to parse param '{name}': time: invalid duration \"{text}\"")
}

const SYNTAX: &str = "invalid syntax";
const RANGE: &str = "value out of range";
const BIG: &str = "9223372036854775807";

#[tokio::test]
async fn rejects_invalid_search_parameters_with_jaegers_messages() {
    let beyond = format!("{BIG}0");
    for (query, msg) in [
        ("start=x", number("start", "x", SYNTAX)),
        ("end=1.5", number("end", "1.5", SYNTAX)),
        ("start=%F0%9F%92%A9", number("start", "💩", SYNTAX)),
        (&format!("start={BIG}"), number("start", BIG, RANGE)),
        (&format!("end={beyond}"), number("end", &beyond, RANGE)),
        ("start=2&end=1", "invalid parameter: start time must be before end time".to_owned()),
        ("limit=x", "strconv.ParseInt: parsing \"x\": invalid syntax".to_owned()),
        ("limit=0", "invalid parameter: limit must be greater than 0".to_owned()),
        ("limit=-5", "invalid parameter: limit must be greater than 0".to_owned()),
        (&format!("limit={BIG}"), "invalid parameter: limit must not be greater than 10000".to_owned()),
        (
            "minDuration=20",
            "unable to parse param 'minDuration': time: missing unit in duration \"20\"".to_owned(),
        ),
        ("minDuration=-1s", invalid_duration("minDuration", "-1s")),
        (&format!("maxDuration={BIG}h"), invalid_duration("maxDuration", &format!("{BIG}h"))),
        ("minDuration=25s&maxDuration=1s", "'maxDuration' should be greater than 'minDuration'".to_owned()),
        ("tag=k", "malformed 'tag' parameter, expecting key:value, received: k".to_owned()),
        (
            "raw=maybe",
            "unable to parse param 'raw': strconv.ParseBool: parsing \"maybe\": invalid syntax".to_owned(),
        ),
    ] {
        let reply = get(&example(), &format!("/api/traces?service=s&{query}")).await;
        assert_eq!(reply, (400, failure(400, &msg)), "{query}");
    }
    for tags in ["%7B%22x%22:123%7D", "x", "%5B%5D", "%7B", "%5B%5B%5B", "%22%22"] {
        let (status, reply) = get(&example(), &format!("/api/traces?service=s&tags={tags}")).await;
        let msg = reply["errors"][0]["msg"].as_str().unwrap();
        assert_eq!(status, 400, "{tags}");
        assert!(msg.starts_with("malformed 'tags' parameter, cannot unmarshal JSON: "), "{msg}");
    }
}

#[tokio::test]
async fn rejects_invalid_parameters_of_other_paths_with_jaegers_messages() {
    let missing = "parameter 'service' is required".to_owned();
    for (path, msg) in [
        ("/api/traces", missing.clone()),
        ("/api/traces?service=", missing.clone()),
        ("/api/operations", missing),
        ("/api/traces/1?start=x", number("start", "x", SYNTAX)),
        ("/api/traces/1?end=x", number("end", "x", SYNTAX)),
        ("/api/dependencies?endTs=x", number("endTs", "x", SYNTAX)),
        (&format!("/api/dependencies?lookback={BIG}"), number("lookback", BIG, RANGE)),
        (
            "/api/dependencies?lookback=-1",
            "unable to parse param 'lookback': must not be negative".to_owned(),
        ),
    ] {
        assert_eq!(get(&example(), path).await, (400, failure(400, &msg)), "{path}");
    }
}

#[tokio::test]
async fn answers_queries_of_60_kilobytes_without_repeating_them() {
    let (service, ids) = ("s".repeat(60_000), "&traceID=1".repeat(6_000));
    for (path, status) in [
        (format!("/api/traces?service={service}"), 200),
        (format!("/api/traces?service=s&tag={service}"), 400),
        (format!("/api/traces?service=s&start={service}"), 400),
        (format!("/api/traces?service=s&tags=%22{service}%22"), 400),
        (format!("/api/traces?{ids}"), 200),
        (format!("/api/traces?service=s{}", "&limit=1".repeat(7_000)), 200),
        (format!("/api/traces?service=s{}", "&tag=a:b".repeat(7_000)), 200),
    ] {
        let (answered, reply) = get(&example(), &path).await;
        assert_eq!(answered, status, "{path:.60}");
        assert!(reply.to_string().len() < 600, "the reply repeats the query");
    }
}
