//! Messages of other exporters: every span is kept, and values that cannot be kept are repaired.

use http::StatusCode;
use serde_json::{Value, json};

use crate::support::{Collector, JSON, SERVER, hex, span};

const PROTOBUF: (&str, &str) = ("content-type", "application/x-protobuf");

/// Sends a file to a new collector, and asserts that it accepts all spans. Returns the collector and `resourceSpans` of
/// the trace.
async fn accepted(file: &str, trace: &str) -> (Collector, Value) {
    let collector = Collector::start().await;
    let body = std::fs::read(format!("{}/tests/cases/{file}", env!("CARGO_MANIFEST_DIR"))).unwrap();
    let (format, success) = match file.ends_with(".bin") {
        true => (PROTOBUF, "".as_bytes()),
        false => (JSON, "{}".as_bytes()),
    };
    let reply = collector.otlp(&[format], body).await;
    assert_eq!((reply.status, &*reply.body), (StatusCode::OK, success), "{file}: {:?}", reply.body);
    let path = format!("/api/v3/traces/{trace}");
    let trace = collector.get(&path).await;
    assert!(trace.status == StatusCode::OK || file.contains("null-spans"), "{file}: {:?}", trace.body);
    let resource_spans = trace.json()["result"]["resourceSpans"].clone();
    (collector, resource_spans)
}

/// Returns the last span of a file whose message is accepted.
async fn last_span(file: &str, trace: &str) -> Value {
    let (collector, resource_spans) = accepted(file, trace).await;
    collector.stop().await;
    let spans = resource_spans[0]["scopeSpans"][0]["spans"].as_array().unwrap_or_else(|| panic!("{file}"));
    spans.last().unwrap().clone()
}

#[tokio::test]
async fn accepts_json_without_lists_keys_and_defaults() {
    let list = json!([{ "key": "list", "value": { "arrayValue": {} } }]);
    let filtered = json!([{ "key": "filtered.list", "value": { "arrayValue": {} } }]);
    let short = json!([{ "key": "a", "value": { "arrayValue": {} } }]);
    for (file, trace, attributes) in [
        ("01a-empty-arrayValue.json", "0000a100000000000000000000000001", list),
        (
            "01c-keyvalue-without-key.json",
            "0000a100000000000000000000000003",
            json!([{ "value": { "stringValue": "x" } }]),
        ),
        ("01g-canonical-protojson-emptylist.json", "0000a1000000000000000000000000f0", filtered),
        ("82f-empty-arrayValue.jsonl", "0000ac00000000000000000000000008", short),
    ] {
        assert_eq!(last_span(file, trace).await["attributes"], attributes, "{file}");
    }
}

#[tokio::test]
async fn null_is_the_default_of_every_field() {
    for (file, trace, field) in [
        ("02-null-attributes.json", 0x22, "attributes"),
        ("02-null-droppedAttributesCount.json", 0x27, "droppedAttributesCount"),
        ("02-null-events.json", 0x23, "events"),
        ("02-null-flags.json", 0x26, "flags"),
        ("02-null-links.json", 0x24, "links"),
        ("02-null-name.json", 0x2b, "name"),
        ("02-null-parentSpanId.json", 0x20, "parentSpanId"),
        ("02-null-traceState.json", 0x21, "traceState"),
    ] {
        let span = last_span(file, &format!("0000a1000000000000000000000000{trace:02x}")).await;
        // An empty name is answered as Jaeger does.
        let default = if field == "name" { json!("empty-span-name") } else { Value::Null };
        assert_eq!((&span["kind"], &span[field]), (&json!(2), &default), "{file}");
    }
    let span = last_span("02-null-arrayValues.json", "0000a100000000000000000000000048").await;
    assert_eq!(span["attributes"][0]["value"], json!({ "arrayValue": {} }));
    let (collector, _) = accepted("02-null-spans.json", "1").await;
    assert_eq!(collector.metric("collector_store_spans").await, 0);
    collector.stop().await;
}

#[tokio::test]
async fn accepts_numbers_as_strings() {
    for (file, trace, value) in [
        ("03-double-NaN.json", "0000a200000000000000000000000000", json!("NaN")),
        ("03-double-quoted.json", "0000a200000000000000000000000003", json!(1.25)),
        ("03g-canonical-protojson-nan.json", "0000a1000000000000000000000000f0", json!("NaN")),
    ] {
        assert_eq!(last_span(file, trace).await["attributes"][0]["value"]["doubleValue"], value, "{file}");
    }
    let span = last_span("04-num-flags-string.json", "0000a200000000000000000000000020").await;
    assert_eq!(span["flags"], 257);
}

#[tokio::test]
async fn replaces_what_is_not_unicode_in_json_and_keeps_every_span() {
    for (file, trace, field, text) in [
        (
            "08a-lone-high-surrogate.json",
            "0000a200000000000000000000000080",
            "/attributes/0/value/stringValue",
            "cut \u{fffd}",
        ),
        ("08d-raw-invalid-utf8.json", "0000a200000000000000000000000083", "/name", "caf\u{fffd}"),
        (
            "82o-lone-surrogate.jsonl",
            "0000ac00000000000000000000000011",
            "/attributes/0/value/stringValue",
            "\u{fffd}",
        ),
    ] {
        let (collector, resource_spans) = accepted(file, trace).await;
        let spans = resource_spans[0]["scopeSpans"][0]["spans"].as_array().unwrap();
        assert_eq!(spans.last().unwrap().pointer(field), Some(&json!(text)), "{file}");
        assert_eq!(spans.len(), if field == "/name" { 2 } else { 1 }, "{file}");
        assert_eq!(collector.metric("collector_repaired_strings_total").await, 1, "{file}");
        collector.stop().await;
    }
}

#[tokio::test]
async fn replaces_invalid_utf_8_in_protobuf_and_keeps_every_span() {
    let (collector, resource_spans) = accepted("11a-utf8-attr.bin", "0000b100000000000000000000000001").await;
    let spans = resource_spans[0]["scopeSpans"][0]["spans"].as_array().unwrap();
    assert_eq!(spans.len(), 2);
    assert_eq!(spans[1]["attributes"][0]["value"]["stringValue"], "ab\u{fffd}\u{fffd}");
    assert_eq!(collector.metric("collector_repaired_strings_total").await, 1);
    assert_eq!(collector.metric("collector_rejected_spans_total").await, 0);
    assert_eq!(collector.metric(r#"collector_received_spans_total{transport="http"}"#).await, 2);
    collector.stop().await;

    let (collector, resource_spans) =
        accepted("11d-utf8-resattr.bin", "0000b100000000000000000000000004").await;
    let attributes = &resource_spans[0]["resource"]["attributes"];
    let command = json!({ "key": "process.command_line", "value": { "stringValue": "Z\u{fffd}\u{fffd}Z" } });
    assert!(attributes.as_array().unwrap().contains(&command), "{attributes}");
    assert_eq!(resource_spans[0]["scopeSpans"][0]["spans"].as_array().map(Vec::len), Some(2));
    assert_eq!(collector.metric("collector_repaired_strings_total").await, 1, "once for both spans");
    collector.stop().await;
}

#[tokio::test]
async fn numbers_that_are_not_finite_survive_every_api() {
    let trace = "0000b100000000000000000000000005";
    let (collector, resource_spans) = accepted("12-nan.bin", trace).await;
    let mut attributes =
        resource_spans[0]["scopeSpans"][0]["spans"][0]["attributes"].as_array().unwrap().clone();
    attributes.sort_by_key(|attribute| attribute["key"].to_string());
    let expected = json!([
        { "key": "emptylist", "value": { "arrayValue": {} } },
        { "key": "emptymap", "value": { "kvlistValue": {} } },
        { "key": "inf", "value": { "doubleValue": "Infinity" } },
        { "key": "list", "value": { "arrayValue": { "values": [{ "doubleValue": "NaN" }] } } },
        { "key": "nan", "value": { "doubleValue": "NaN" } },
        { "key": "ninf", "value": { "doubleValue": "-Infinity" } },
    ]);
    assert_eq!(json!(attributes), expected);
    let reply = collector.get(&format!("/api/traces/{trace}")).await.json();
    let tags = reply["data"][0]["spans"][0]["tags"].as_array().unwrap();
    let tag = |key: &str| tags.iter().find(|tag| tag["key"] == key).unwrap()["value"].clone();
    assert_eq!((tag("inf"), tag("ninf"), tag("nan")), (json!("Infinity"), json!("-Infinity"), json!("NaN")));
    let found = "/api/traces?service=h1-nan&tags=%7B%22inf%22:%22Infinity%22%7D&start=0&end=9000000000000000";
    assert_eq!(collector.get(found).await.json()["data"].as_array().map(Vec::len), Some(1));

    let exported = collector.post("/api/workbench/traces", &json!({ "traces": [trace] })).await;
    let other = Collector::start().await;
    assert_eq!(other.otlp(&[JSON], exported.body.clone()).await.body, "{}");
    let again = other.post("/api/workbench/traces", &json!({ "traces": [trace] })).await;
    assert_eq!(again.body, exported.body, "exported, imported and exported again");
    collector.stop().await;
    other.stop().await;
}

#[tokio::test]
async fn keeps_a_long_resource_and_entities() {
    let (collector, resource_spans) =
        accepted("95-resource-66000.bin", "0000d700000000000000000000000001").await;
    assert!(resource_spans.to_string().len() > 66_000);
    collector.stop().await;
    let (collector, resource_spans) =
        accepted("10e-entityRefs-omitted.json", "0000a2000000000000000000000000a4").await;
    assert_eq!(resource_spans[0]["resource"]["entityRefs"], json!([{ "type": "service" }]));
    collector.stop().await;
}

#[tokio::test]
async fn deeply_nested_values_reach_every_api() {
    let nested = |depth: usize| {
        (0..depth).fold(
            json!({ "intValue": "1" }),
            |value, _| json!({ "kvlistValue": { "values": [{ "key": "k", "value": value }] } }),
        )
    };
    let collector = Collector::start().await;
    let mut span = span(7, 1, 0, SERVER);
    span["attributes"] = json!([{ "key": "deep", "value": nested(64) }]);
    collector.accept("web", json!([span.clone()])).await;
    let trace = collector.get("/api/v3/traces/7").await.body;
    let text = std::str::from_utf8(&trace).unwrap();
    assert_eq!((text.matches("kvlistValue").count(), text.contains("cut:")), (64, false));
    let deep = format!("{}1{}", "{\\\"k\\\":".repeat(64), "}".repeat(64));
    let v1 = collector.get("/api/traces/7").await.body;
    assert!(std::str::from_utf8(&v1).unwrap().contains(&deep), "{v1:?}");
    assert_eq!(collector.get("/trace/7").await.status, StatusCode::OK);
    let line = collector.post("/api/workbench/traces", &json!({ "traces": [hex(7)] })).await.body;
    let other = Collector::start().await;
    assert_eq!(other.otlp(&[JSON], line).await.body, "{}");
    assert_eq!(other.get("/api/v3/traces/7").await.body, trace);
    assert_eq!(other.metric("collector_cut_parts_total").await, 0);

    (span["traceId"], span["attributes"][0]["value"]) = (json!(hex(8)), nested(65));
    collector.accept("web", json!([span])).await;
    let text = collector.get("/api/v3/traces/8").await.body;
    assert!(std::str::from_utf8(&text).unwrap().contains("(cut: nested more than 64 levels deep)"));
    assert_eq!(collector.metric("collector_cut_parts_total").await, 1);
    other.stop().await;
    collector.stop().await;
}
