//! Spans with missing, reversed or duplicate fields, and files with them, read back through Jaeger's API.

use std::path::Path;
use std::time::Duration;

use collector::UiTrace;
use collector::blame::waterfall::{self, Placement};
use collector::otlp;
use collector::trace::Value as AttributeValue;
use http::StatusCode;
use serde_json::{Value, json};

use crate::support::{CLIENT, Collector, JSON, SERVER, hex, span};

fn file(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases").join(name);
    std::fs::read_to_string(path).unwrap()
}

async fn collector_with(name: &str) -> Collector {
    let collector = Collector::start().await;
    let reply = collector.otlp(&[JSON], file(name)).await;
    assert_eq!(
        (reply.status, reply.json()["partialSuccess"]["rejectedSpans"].clone()),
        (StatusCode::OK, json!(null))
    );
    collector
}

/// Returns the spans of a trace by their operation.
async fn spans(collector: &Collector, path: &str) -> impl Fn(&str) -> Value + use<> {
    let reply = collector.get(path).await.json();
    let spans = reply["data"][0]["spans"].as_array().unwrap().clone();
    move |operation| spans.iter().find(|span| span["operationName"] == operation).unwrap().clone()
}

fn negative(original: &str, adjusted: &str) -> String {
    format!(
        "Negative duration detected, sanitizing end timestamp. Original end timestamp: {original} +0000 UTC, \
         adjusted to: {adjusted} +0000 UTC"
    )
}

#[tokio::test]
async fn unfinished_spans_and_reversed_times_have_jaegers_warnings() {
    let collector = collector_with("42-negative.json").await;
    let start = 1_795_672_000_065_556_u64;
    let after = "2026-11-26 05:46:40.065556254";
    let skew =
        |delta: &str| format!("clock skew adjustment disabled; not applying calculated delta of {delta}");
    for raw in [false, true] {
        let path = format!("/api/traces/0000c100000000000000000000000004?raw={raw}");
        let span = spans(&collector, &path).await;
        let skew = |delta: &str| (!raw).then(|| skew(delta));
        for (operation, times, warnings) in [
            ("root", (start, 10_000), vec![]),
            ("neg", (start, 0), vec![Some(negative("2026-11-26 05:46:40.060556253", after))]),
            ("unended", (start, 0), vec![Some(negative("1970-01-01 00:00:00", after))]),
            ("zero-start", (0, 1_795_672_000_066_556), vec![skew("498797h46m40.065556253s")]),
            (
                "both-zero",
                (0, 0),
                vec![
                    Some(negative("1970-01-01 00:00:00", "1970-01-01 00:00:00.000000001")),
                    skew("498797h46m40.070556252s"),
                ],
            ),
            ("max", (start, 0), vec![Some(negative("1969-12-31 23:59:59.999999999", after))]),
        ] {
            let span = span(operation);
            assert_eq!(
                (span["startTime"].as_u64(), span["duration"].as_u64()),
                (Some(times.0), Some(times.1)),
                "{operation}"
            );
            let warnings: Vec<_> = warnings.into_iter().flatten().collect();
            let expected = if warnings.is_empty() { json!(null) } else { json!(warnings) };
            assert_eq!(span["warnings"], expected, "{operation}");
        }
    }
    let v3 = collector.get("/api/v3/traces/0000c100000000000000000000000004").await.json();
    let unended = &v3["result"]["resourceSpans"][0]["scopeSpans"][0]["spans"][2];
    assert_eq!(unended["endTimeUnixNano"], "1795672000065556254");
    let warning =
        json!({ "arrayValue": { "values": [{ "stringValue": negative("1970-01-01 00:00:00", after) }] } });
    assert_eq!(unended["attributes"], json!([{ "key": "@jaeger@warnings", "value": warning }]));
    collector.stop().await;
}

#[tokio::test]
async fn a_server_span_with_the_id_of_its_client_is_below_it_in_every_answer_and_on_the_page() {
    let collector = collector_with("44-dup-ids.json").await;
    let trace = "0000c100000000000000000000000007";
    let span = spans(&collector, &format!("/api/traces/{trace}")).await;
    let parent = |operation: &str| span(operation)["references"][0]["spanID"].clone();
    assert_eq!(
        (span("client")["spanID"].as_str(), parent("client")),
        (Some("0000000000000002"), json!("0000000000000001"))
    );
    assert_eq!(
        (span("server")["spanID"].as_str(), parent("server")),
        (Some("0000000000000004"), json!("0000000000000002"))
    );
    assert_eq!(parent("child-of-2"), "0000000000000004");
    assert_eq!(span("server")["warnings"], json!(null));

    let raw = spans(&collector, &format!("/api/traces/{trace}?raw=true")).await;
    assert_eq!(
        (raw("server")["spanID"].as_str(), raw("client")["spanID"].as_str()),
        (Some("0000000000000002"), Some("0000000000000002"))
    );

    let page = collector.get(&format!("/trace/{trace}")).await;
    let page = std::str::from_utf8(&page.body).unwrap();
    let levels: Vec<&str> = page.split("Level ").skip(1).map(|rest| &rest[..1]).collect();
    assert_eq!(levels, ["1", "2", "3", "4"]);
    for id in 1..=4 {
        assert_eq!(page.matches(&format!("id=\"s{id:016x}\"")).count(), 1);
    }

    let calls = collector.get("/api/dependencies?endTs=1795672000066&lookback=1000").await.json();
    assert_eq!(calls["data"], json!([{ "parent": "h1-dup", "child": "h1-dup", "callCount": 3 }]));
    collector.stop().await;
}

#[tokio::test]
async fn dependencies_lead_through_the_server_span_of_a_shared_id() {
    for spans_of_trace in [3, 40] {
        let collector = Collector::start().await;
        collector.accept("store", json!([span(7, 2, 1, SERVER)])).await;
        collector.accept("web", json!([span(7, 1, 0, SERVER), span(7, 2, 1, CLIENT)])).await;
        let children: Vec<_> = (10..10 + spans_of_trace).map(|id| span(7, id, 2, CLIENT)).collect();
        collector.accept("store", json!(children)).await;
        let calls = collector.get("/api/dependencies?endTs=2000&lookback=2000").await.json();
        let call = |parent, child, count| json!({ "parent": parent, "child": child, "callCount": count });
        let expected =
            [call("store", "store", spans_of_trace), call("web", "store", 1), call("web", "web", 1)];
        assert_eq!(calls["data"], json!(expected));
        collector.stop().await;
    }
}

#[test]
fn blame_follows_the_server_span_of_a_shared_id() {
    let trace = otlp::from_json_line(&file("44-dup-ids.json")).unwrap();
    let rows = waterfall::rows(&trace);
    let depths: Vec<_> = rows.iter().map(|row| (trace.spans[row.span].name.as_str(), row.depth)).collect();
    assert_eq!(depths, [("root", 0), ("client", 1), ("server", 2), ("child-of-2", 3)]);
    assert!(rows[1..].iter().all(|row| row.placement == Placement::Child));
    let path = collector::blame::critical_path::critical_path(&trace);
    let path: Vec<_> = path.iter().map(|segment| trace.spans[segment.span].name.as_str()).collect();
    assert_eq!(path, ["child-of-2"], "the deepest of four spans with equal times");
}

#[tokio::test]
async fn spans_without_names_are_found_by_jaegers_placeholders() {
    let collector = Collector::start().await;
    let unnamed = |trace: u128| {
        json!({ "traceId": hex(trace), "spanId": "0000000000000001",
        "startTimeUnixNano": "1000000000", "endTimeUnixNano": "1002000000" })
    };
    let of = |attributes: Value, trace| json!({ "resource": { "attributes": attributes }, "scopeSpans": [{ "spans": [unnamed(trace)] }] });
    let name = |value: Value| json!([{ "key": "service.name", "value": value }]);
    let message = json!({ "resourceSpans": [
        of(json!([]), 1), of(name(json!({ "stringValue": "" })), 2), of(name(json!({ "intValue": "7" })), 3),
    ] });
    assert_eq!(collector.otlp(&[JSON], message.to_string()).await.status, StatusCode::OK);
    let services = ["empty-service-name", "missing-service-name", "service-name-wrong-type"];
    assert_eq!(collector.get("/api/services").await.json()["data"], json!(services));
    for (service, trace) in services.into_iter().zip([2, 1, 3]) {
        for raw in ["false", "true"] {
            let path = format!(
                "/api/traces?service={service}&operation=empty-span-name&start=0&end=60000000&raw={raw}"
            );
            let found = collector.get(&path).await.json();
            assert_eq!(found["data"].as_array().map(Vec::len), Some(1), "{found}");
            assert_eq!(found["data"][0]["spans"][0]["operationName"], "empty-span-name");
            assert_eq!(found["data"][0]["processes"]["p1"]["serviceName"], service);
        }
        let operations = collector.get(&format!("/api/v3/operations?service={service}")).await.json();
        assert_eq!(operations["operations"], json!([{ "name": "empty-span-name", "spanKind": "internal" }]));
        let v3 = collector.get(&format!("/api/v3/traces/{}", hex(trace))).await.json();
        let group = &v3["result"]["resourceSpans"][0];
        assert_eq!(group["resource"]["attributes"], name(json!({ "stringValue": service })));
        assert_eq!(group["scopeSpans"][0]["spans"][0]["name"], "empty-span-name");
        let page = collector.get(&format!("/trace/{}", hex(trace))).await;
        let page = std::str::from_utf8(&page.body).unwrap();
        assert!(page.contains(service) && page.contains("empty-span-name") && !page.contains("(no name)"));
    }
    let hops = collector.get("/api/workbench/hops").await.json();
    let named = |hop: &Value| (hop["service"].clone(), hop["operation"].clone());
    let hops: Vec<_> = hops["hops"].as_array().unwrap().iter().map(named).collect();
    assert_eq!(hops, services.map(|service| (json!(service), json!("empty-span-name"))));
    collector.stop().await;
}

#[tokio::test]
async fn clocks_are_corrected_up_to_the_limit_that_is_set() {
    for (limit, start, warning) in [
        (Duration::ZERO, 900_000, "clock skew adjustment disabled; not applying calculated delta of 100.5ms"),
        (Duration::from_secs(1), 1_000_500, "This span's timestamps were adjusted by 100.5ms"),
        (
            Duration::from_millis(50),
            900_000,
            "max clock skew adjustment delta of 50ms exceeded; not applying calculated delta of 100.5ms",
        ),
    ] {
        let collector = Collector::with_clock_skew(limit).await;
        let mut child = span(7, 2, 1, SERVER);
        child["startTimeUnixNano"] = json!("900000000");
        child["endTimeUnixNano"] = json!("901000000");
        collector.accept("web", json!([span(7, 1, 0, CLIENT)])).await;
        collector.accept("store", json!([child])).await;
        let span = spans(&collector, &format!("/api/traces/{}", hex(7))).await;
        assert_eq!(
            (&span("operation 2")["startTime"], &span("operation 2")["warnings"]),
            (&json!(start), &json!([warning]))
        );
        let raw = spans(&collector, &format!("/api/traces/{}?raw=true", hex(7))).await;
        assert_eq!(
            (&raw("operation 2")["startTime"], &raw("operation 2")["warnings"]),
            (&json!(900_000), &json!(null))
        );
        collector.stop().await;
    }
}

#[tokio::test]
async fn a_resource_is_listed_once_with_all_its_scopes() {
    let collector = Collector::start().await;
    let scope = |name: &str, id| json!({ "scope": { "name": name }, "spans": [span(7, id, id - 1, SERVER)] });
    let of = |service: &str, scopes: Vec<Value>| {
        let name = json!({ "key": "service.name", "value": { "stringValue": service } });
        json!({ "resource": { "attributes": [name] }, "scopeSpans": scopes })
    };
    for message in [
        of("web", vec![scope("http", 1), scope("sql", 2)]),
        of("store", vec![scope("http", 3)]),
        of("web", vec![scope("http", 4), scope("cache", 5)]),
    ] {
        let message = json!({ "resourceSpans": [message] });
        assert_eq!(collector.otlp(&[JSON], message.to_string()).await.status, StatusCode::OK);
    }
    for raw in ["false", "true"] {
        let v3 = collector.get(&format!("/api/v3/traces/{}?rawTraces={raw}", hex(7))).await.json();
        let groups = v3["result"]["resourceSpans"].as_array().unwrap();
        let ids = |scope: &Value| -> Vec<String> {
            let spans = scope["spans"].as_array().unwrap().iter();
            spans.map(|span| span["spanId"].as_str().unwrap().trim_start_matches('0').to_owned()).collect()
        };
        let scopes = |group: &Value| -> Vec<(Value, Vec<String>)> {
            let scopes = group["scopeSpans"].as_array().unwrap().iter();
            scopes.map(|scope| (scope["scope"]["name"].clone(), ids(scope))).collect()
        };
        let grouped: Vec<_> = groups.iter().map(scopes).collect();
        let list = |ids: &[&str]| ids.iter().map(|id| (*id).to_owned()).collect::<Vec<_>>();
        let web = vec![
            (json!("http"), list(&["1", "4"])),
            (json!("sql"), list(&["2"])),
            (json!("cache"), list(&["5"])),
        ];
        assert_eq!(grouped, [web, vec![(json!("http"), list(&["3"]))]]);
    }
    collector.stop().await;
}

#[test]
fn files_of_the_ui_are_accepted_as_the_ui_accepts_them() {
    let read = |name: &str| {
        let document: Value = serde_json::from_str(&file(name)).unwrap();
        let UiTrace(trace) = serde_json::from_value(document["data"][0].clone()).unwrap();
        trace
    };
    let start_ns = 1_795_672_181_741_167_000;
    let trace = read("80d-no-processes.json");
    assert_eq!((trace.spans[0].service(), trace.spans[0].duration_ns()), ("missing-service-name", 1_500_000));
    let trace = read("80f-negative-duration.json");
    assert_eq!((trace.spans[0].start_ns, trace.spans[0].end_ns), (start_ns, start_ns - 5000));
    let trace = read("80h-float-times.json");
    assert_eq!((trace.spans[0].start_ns, trace.spans[0].duration_ns()), (start_ns + 500, 12_250));
    let trace = read("80q-bigint.json");
    assert_eq!(trace.spans[0].attribute("a"), Some(&AttributeValue::Int(i64::MAX)));
    let trace = read("81a-start-zero.json");
    let times: Vec<_> = trace.spans.iter().map(|span| (span.start_ns, span.duration_ns())).collect();
    assert_eq!(times, [(start_ns, 1_500_000), (0, 1_500_000)]);
    assert_eq!(trace.spans[1].parent, Some(trace.spans[0].span_id));
}
