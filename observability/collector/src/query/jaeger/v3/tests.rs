use serde_json::{Value, json};

use crate::query::jaeger::tests::{ID, MESSAGE, WINDOW_V3, example, get, router_with};

fn failure(code: u16, message: &str) -> Value {
    json!({ "error": { "httpCode": code, "message": message } })
}

#[tokio::test]
async fn lists_services_and_operations_as_jaeger_does() {
    let router = example();
    let server = json!({ "operations": [{ "name": "GET /cart", "spanKind": "server" }] });
    for (path, expected) in [
        ("/api/v3/services", json!({ "services": ["cart", "frontend"] })),
        ("/api/v3/operations?service=frontend", server.clone()),
        ("/api/v3/operations?service=frontend&spanKind=server", server.clone()),
        ("/api/v3/operations?service=frontend&span_kind=server", server),
        ("/api/v3/operations?service=frontend&spanKind=client", json!({ "operations": [] })),
        ("/api/v3/operations", json!({ "operations": [] })),
    ] {
        assert_eq!(get(&router, path).await, (200, expected), "{path}");
    }
    let empty = router_with(&json!({}));
    assert_eq!(get(&empty, "/api/v3/services").await, (200, json!({ "services": [] })));
}

#[tokio::test]
async fn lists_an_unspecified_kind_as_internal() {
    let spans = json!([{ "traceId": ID, "spanId": "00000000000000aa", "name": "x" }]);
    let router = router_with(&json!({ "resourceSpans": [{ "scopeSpans": [{ "spans": spans }] }] }));
    let (_, reply) = get(&router, "/api/v3/operations?service=missing-service-name").await;
    assert_eq!(reply, json!({ "operations": [{ "name": "x", "spanKind": "internal" }] }));
}

#[tokio::test]
async fn returns_a_trace_as_jaeger_does_by_id_and_by_search() {
    let router = example();
    let mut expected = json!({ "result": serde_json::from_str::<Value>(MESSAGE).unwrap() });
    for path in [
        format!("/api/v3/traces/{ID}?rawTraces=true"),
        format!("/api/v3/traces/{ID}?raw_traces=1&startTime=2026-11-23T16:44:01Z"),
        format!("/api/v3/traces?query.serviceName=cart&query.rawTraces=true&{WINDOW_V3}"),
    ] {
        assert_eq!(get(&router, &path).await, (200, expected.clone()), "{path}");
    }
    for service in 0..2 {
        let attributes = &mut expected["result"]["resourceSpans"][service]["resource"]["attributes"];
        attributes.as_array_mut().unwrap().reverse();
    }
    for path in [format!("/api/v3/traces/{ID}"), format!("/api/v3/traces?{WINDOW_V3}")] {
        assert_eq!(get(&router, &path).await, (200, expected.clone()), "adjusted: {path}");
    }
}

#[tokio::test]
async fn returns_several_traces_in_one_result() {
    let span = |trace: u8| json!({ "traceId": format!("{trace:032x}"), "spanId": "00000000000000aa", "name": "x", "endTimeUnixNano": "1" });
    let resource = json!({ "attributes": [{ "key": "service.name", "value": { "stringValue": "shop" } }] });
    let groups = json!([{ "resource": resource, "scopeSpans": [{ "spans": [span(1), span(2)] }] }]);
    let router = router_with(&json!({ "resourceSpans": groups }));
    let window = "query.startTimeMin=1970-01-01T00:00:00Z&query.startTimeMax=9999-01-01T00:00:00Z";
    let (status, reply) = get(&router, &format!("/api/v3/traces?{window}")).await;
    let group = |trace: u8| {
        let mut span = span(trace);
        span["status"] = json!({});
        json!({ "resource": resource, "scopeSpans": [{ "scope": {}, "spans": [span] }] })
    };
    assert_eq!((status, reply), (200, json!({ "result": { "resourceSpans": [group(2), group(1)] } })));
}

#[tokio::test]
async fn returns_a_summary_as_jaeger_does() {
    let summary = json!({
        "traceId": ID, "minStartTimeUnixNano": "1795455811000000000", "maxEndTimeUnixNano": "1795455811005000000",
        "spanCount": 2, "rootServiceName": "frontend", "rootOperationName": "GET /cart", "errorSpanCount": 1,
        "services": [
            { "name": "cart", "spanCount": 1 }, { "name": "frontend", "spanCount": 1, "errorSpanCount": 1 },
        ],
    });
    let camel = format!("query.serviceName=frontend&{WINDOW_V3}&query.searchDepth=20");
    let snake = "query.service_name=frontend&query.operation_name=GET+/cart\
        &query.start_time_min=2026-11-23T16:44:01Z&query.start_time_max=2026-11-23T18:44:01%2B01:00\
        &query.search_depth=1&query.duration_min=5ms&query.duration_max=5ms&query.raw_traces=t";
    for query in [camel, snake.to_owned()] {
        let reply = get(&example(), &format!("/api/v3/trace-summaries?{query}")).await;
        assert_eq!(reply, (200, json!({ "summaries": [summary] })), "{query}");
    }
}

#[tokio::test]
async fn a_summary_counts_orphans_and_names_the_earliest_root() {
    let span = |id: u8, parent: &str, start: u32| {
        json!({ "traceId": ID, "spanId": format!("{id:016x}"), "parentSpanId": parent, "name": format!("op {id}"),
            "startTimeUnixNano": start.to_string(), "endTimeUnixNano": (start + 1).to_string() })
    };
    let spans = json!([
        span(1, "", 9),
        span(2, "", 8),
        span(3, "00000000000000ff", 7),
        span(3, "00000000000000fe", 7)
    ]);
    let router = router_with(&json!({ "resourceSpans": [{ "scopeSpans": [{ "spans": spans }] }] }));
    let window = "query.startTimeMin=1970-01-01T00:00:00Z&query.startTimeMax=1970-01-02T00:00:00Z";
    let (_, reply) = get(&router, &format!("/api/v3/trace-summaries?{window}")).await;
    let expected = json!({
        "traceId": ID, "rootServiceName": "missing-service-name", "rootOperationName": "op 2",
        "minStartTimeUnixNano": "7", "maxEndTimeUnixNano": "10", "spanCount": 4, "orphanSpanCount": 2,
        "services": [{ "name": "missing-service-name", "spanCount": 4 }],
    });
    assert_eq!(reply["summaries"], json!([expected]));
}

#[tokio::test]
async fn filters_by_attributes_durations_and_depth() {
    for (query, count) in [
        ("query.attributes=%7B%22http.status_code%22:%22500%22%7D", 1),
        ("query.attributes=%7B%22http.status_code%22:%22200%22%7D", 0),
        ("query.attributes=null", 1),
        ("query.num_traces=1", 1),
        ("query.durationMin=6ms", 0),
        ("query.serviceName=cart&query.operationName=GET+/cart", 0),
    ] {
        let (status, reply) = get(&example(), &format!("/api/v3/trace-summaries?{WINDOW_V3}&{query}")).await;
        assert_eq!((status, reply["summaries"].as_array().map(Vec::len)), (200, Some(count)), "{query}");
    }
}

#[tokio::test]
async fn an_empty_result_is_404_for_traces_and_an_empty_list_for_summaries() {
    let router = example();
    for path in ["/api/v3/traces/1".to_owned(), format!("/api/v3/traces?query.serviceName=x&{WINDOW_V3}")] {
        assert_eq!(get(&router, &path).await, (404, failure(404, "No traces found")), "{path}");
    }
    let path = format!("/api/v3/trace-summaries?query.serviceName=x&{WINDOW_V3}");
    assert_eq!(get(&router, &path).await, (200, json!({ "summaries": [] })));
}

#[tokio::test]
async fn rejects_invalid_parameters_and_names_them() {
    let router = example();
    let backwards = "query.startTimeMin=2026-11-23T17:44:01Z&query.startTimeMax=2026-11-23T16:44:01Z";
    let snake_backwards =
        "query.start_time_min=2026-11-23T17:44:01Z&query.start_time_max=2026-11-23T16:44:01Z";
    for (query, message) in [
        ("query.serviceName=frontend", "query.startTimeMin and query.startTimeMax are required"),
        ("query.startTimeMin=2026-11-23T16:44:01Z", "query.startTimeMin and query.startTimeMax are required"),
        (
            "query.startTimeMin=yesterday",
            "malformed parameter query.startTimeMin: parsing time \"yesterday\" as \
             \"2006-01-02T15:04:05.999999999Z07:00\": invalid or out of range",
        ),
        (backwards, "query.startTimeMin must be before query.startTimeMax"),
        (snake_backwards, "query.start_time_min must be before query.start_time_max"),
        (
            "query.start_time_min=2026-11-23T16:44:01Z",
            "query.start_time_min and query.startTimeMax are required",
        ),
    ] {
        let expected = (400, failure(400, message));
        assert_eq!(get(&router, &format!("/api/v3/traces?{query}")).await, expected, "{query}");
        assert_eq!(get(&router, &format!("/api/v3/trace-summaries?{query}")).await, expected, "{query}");
    }
    for (query, message) in [
        ("query.searchDepth=x", "query.searchDepth: strconv.ParseInt: parsing \"x\": invalid syntax"),
        ("query.num_traces=x", "query.num_traces: strconv.ParseInt: parsing \"x\": invalid syntax"),
        ("query.searchDepth=0", "query.searchDepth: must be greater than 0"),
        ("query.searchDepth=-1", "query.searchDepth: must be greater than 0"),
        ("query.searchDepth=10001", "query.searchDepth: must not be greater than 10000"),
        ("query.search_depth=0", "query.search_depth: must be greater than 0"),
        ("query.num_traces=10001", "query.num_traces: must not be greater than 10000"),
        ("query.numTraces=0", "query.numTraces: must be greater than 0"),
        ("query.durationMin=20", "query.durationMin: time: missing unit in duration \"20\""),
        ("query.duration_max=-1s", "query.duration_max: time: invalid duration \"-1s\""),
        ("query.rawTraces=2", "query.rawTraces: strconv.ParseBool: parsing \"2\": invalid syntax"),
    ] {
        let reply = get(&router, &format!("/api/v3/traces?{WINDOW_V3}&{query}")).await;
        assert_eq!(reply, (400, failure(400, &format!("malformed parameter {message}"))), "{query}");
    }
    for (min, max) in [("durationMin", "durationMax"), ("duration_min", "duration_max")] {
        let query = format!("{WINDOW_V3}&query.{min}=2s&query.{max}=1s");
        let message = format!("query.{max} must not be less than query.{min}");
        assert_eq!(get(&router, &format!("/api/v3/traces?{query}")).await, (400, failure(400, &message)));
    }
    for path in [
        format!("/api/v3/traces?{WINDOW_V3}&query.attributes=%7B%22a%22:1%7D"),
        format!("/api/v3/traces?{WINDOW_V3}&query.durationMin=2s&query.durationMax=1s"),
        "/api/v3/traces/1?startTime=x".to_owned(),
        "/api/v3/traces/1?end_time=x".to_owned(),
        "/api/v3/traces/1?rawTraces=x".to_owned(),
        "/api/v3/traces/zzz".to_owned(),
        "/api/v3/traces/%ff".to_owned(),
    ] {
        let (status, reply) = get(&router, &path).await;
        assert_eq!((status, &reply["error"]["httpCode"]), (400, &json!(400)), "{path}");
        assert!(reply["error"]["message"].as_str().is_some_and(|message| message.len() > 10), "{reply}");
    }
}
