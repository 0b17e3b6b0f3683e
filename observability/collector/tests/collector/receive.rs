//! The receivers: gRPC and HTTP with protobuf, JSON and gzip; and what they refuse.

use std::io::Write as _;

use flate2::Compression;
use flate2::write::GzEncoder;
use http::StatusCode;
use opentelemetry::trace::{
    Span as _, SpanKind, Status, TraceContextExt as _, Tracer as _, TracerProvider as _,
};
use opentelemetry::{Context, KeyValue};
use opentelemetry_otlp::WithExportConfig as _;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceResponse;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_client::TraceServiceClient;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::SdkTracerProvider;
use prost::Message as _;
use serde_json::json;
use tonic::codec::CompressionEncoding;

use crate::support::{Collector, JSON, SERVER, export, hex, protobuf, span};

const PROTOBUF: (&str, &str) = ("content-type", "application/x-protobuf");
const GZIP: (&str, &str) = ("content-encoding", "gzip");

/// Headers, body, and the expected status.
type Case<'a> = (&'a [(&'a str, &'a str)], &'a [u8], u16);

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn returns_the_spans_of_the_opentelemetry_sdk() {
    let collector = Collector::start().await;
    let exporter = opentelemetry_otlp::SpanExporter::builder()
        .with_tonic()
        .with_endpoint(format!("http://{}", collector.grpc))
        .build()
        .unwrap();
    let resource = Resource::builder_empty().with_attribute(KeyValue::new("service.name", "shop")).build();
    let provider = SdkTracerProvider::builder().with_batch_exporter(exporter).with_resource(resource).build();
    let tracer = provider.tracer("library");
    let root = tracer.span_builder("GET /cart").with_kind(SpanKind::Server).start(&tracer);
    let trace = root.span_context().trace_id().to_string();
    let cx = Context::current_with_span(root);
    let mut child = tracer.start_with_context("look up", &cx);
    child.set_attributes([
        KeyValue::new("items", 3),
        KeyValue::new("cold", true),
        KeyValue::new("ratio", 0.5),
    ]);
    child.add_event("slow", vec![KeyValue::new("why", "lock")]);
    child.set_status(Status::error("too slow"));
    child.end();
    cx.span().end();
    tokio::task::spawn_blocking(move || provider.shutdown()).await.unwrap().unwrap();

    let reply = collector.get(&format!("/api/traces/{trace}")).await.json();
    let spans = reply["data"][0]["spans"].as_array().unwrap();
    assert_eq!(spans.len(), 2);
    let child = spans.iter().find(|span| span["operationName"] == "look up").unwrap();
    let root = spans.iter().find(|span| span["operationName"] == "GET /cart").unwrap();
    assert_eq!(child["references"][0]["spanID"], root["spanID"]);
    let tag = |key: &str| child["tags"].as_array().unwrap().iter().find(|tag| tag["key"] == key).cloned();
    assert_eq!(tag("items"), Some(json!({ "key": "items", "type": "int64", "value": 3 })));
    assert_eq!(tag("cold"), Some(json!({ "key": "cold", "type": "bool", "value": true })));
    assert_eq!(tag("ratio"), Some(json!({ "key": "ratio", "type": "float64", "value": 0.5 })));
    assert_eq!(tag("otel.status_description").unwrap()["value"], "too slow");
    assert_eq!(child["logs"][0]["fields"][0]["value"], "slow");
    assert_eq!(collector.get("/api/v3/services").await.json(), json!({ "services": ["shop"] }));

    let hops = collector.get("/api/workbench/hops?histograms=true").await.json();
    let hop = &hops["hops"][1];
    assert_eq!((&hop["operation"], &hop["kind"]), (&json!("look up"), &json!("internal")));
    assert_eq!((&hop["count"], &hop["errors"], &hop["unit"]), (&json!(1), &json!(1), &json!("ns")));
    assert!(hop["histogram"].as_str().is_some_and(|text| text.len() > 40), "{hop}");
    collector.stop().await;
}

#[tokio::test]
async fn accepts_every_http_encoding() {
    let collector = Collector::start().await;
    let message = |trace| export("web", "test", json!([span(trace, 1, 0, SERVER)]));
    let json = message(1).to_string().into_bytes();
    let binary = protobuf(&message(2)).encode_to_vec();
    let replies = [
        collector.otlp(&[JSON], json).await,
        collector.otlp(&[PROTOBUF], binary).await,
        collector.otlp(&[JSON, GZIP], gzip(message(3).to_string().as_bytes())).await,
        collector.otlp(&[PROTOBUF, GZIP], gzip(&protobuf(&message(4)).encode_to_vec())).await,
    ];
    for (reply, content_type) in
        replies.iter().zip(["application/json", "application/x-protobuf"].iter().cycle())
    {
        assert_eq!((reply.status, reply.content_type.as_str()), (StatusCode::OK, *content_type));
    }
    for trace in 1..=4 {
        let path = format!("/api/traces/{}", hex(trace));
        assert_eq!(collector.get(&path).await.status, StatusCode::OK, "trace {trace}");
    }
    assert_eq!(collector.metric(r#"collector_received_spans_total{transport="http"}"#).await, 4);
    collector.stop().await;
}

#[tokio::test]
async fn refuses_malformed_messages_and_keeps_receiving() {
    let collector = Collector::start().await;
    let message = export("web", "test", json!([span(1, 1, 0, SERVER)])).to_string().into_bytes();
    let binary = protobuf(&export("web", "test", json!([span(1, 1, 0, SERVER)]))).encode_to_vec();
    let too_long = vec![b' '; (16 << 20) + 1];
    let packed = gzip(&message);
    let cases: [Case<'_>; 11] = [
        (&[JSON], b"{", 400),
        (&[JSON], b"[]]", 400),
        (&[JSON], br#"{"resourceSpans":7}"#, 400),
        (&[PROTOBUF], &message, 400),
        (&[PROTOBUF], &binary[..binary.len() - 1], 400),
        (&[("content-type", "text/plain")], &message, 415),
        (&[], &message, 415),
        (&[JSON, ("content-encoding", "br")], &message, 415),
        (&[JSON, GZIP], &packed[..packed.len() - 9], 400),
        (&[JSON], &too_long, 413),
        (&[JSON, GZIP], &gzip(&too_long), 413),
    ];
    for (headers, body, status) in cases {
        let reply = collector.otlp(headers, body.to_vec()).await;
        assert_eq!(reply.status, status, "{headers:?} {:?}", reply.body);
        if !headers.contains(&PROTOBUF) {
            assert!(
                reply.json()["message"].as_str().is_some_and(|text| !text.is_empty()),
                "{:?}",
                reply.body
            );
        }
    }
    let refused = async |reason: &str| {
        collector.metric(&format!(r#"collector_refused_requests_total{{reason="{reason}"}}"#)).await
    };
    assert_eq!(refused("invalid").await, 6);
    assert_eq!(refused("content_type").await, 2);
    assert_eq!(refused("encoding").await, 1);
    assert_eq!(refused("too_large").await, 2);
    assert_eq!(
        collector.get("/api/services").await.json()["data"],
        json!([]),
        "a refused message is not stored"
    );
    collector.accept("web", json!([span(1, 1, 0, SERVER)])).await;
    collector.stop().await;
}

#[tokio::test]
async fn unsupported_methods_and_paths_get_an_explanation() {
    let collector = Collector::start().await;
    let send = async |address, method: &str, path: &str| {
        let reply = collector.request(address, method, path).await;
        (reply.status.as_u16(), String::from_utf8(reply.body.to_vec()).unwrap())
    };
    let (status, text) = send(collector.query, "DELETE", "/api/traces/1").await;
    assert_eq!((status, text.as_str()), (405, "405 Method Not Allowed: allowed methods: GET,HEAD\n"));
    assert_eq!(send(collector.query, "GET", "/api/workbench/ledger").await.0, 405);
    collector.stop().await;
}

#[tokio::test]
async fn rejects_only_the_spans_without_valid_ids() {
    let collector = Collector::start().await;
    let mut spans =
        [span(1, 1, 0, SERVER), span(0, 2, 0, SERVER), span(1, 3, 0, SERVER), span(1, 4, 0, SERVER)];
    spans[2]["spanId"] = json!("abcd");
    spans[3]["parentSpanId"] = json!("abcd");
    let reply = collector.otlp(&[JSON], export("web", "test", json!(spans)).to_string()).await;
    assert_eq!(
        (reply.status, &reply.json()["partialSuccess"]["rejectedSpans"]),
        (StatusCode::OK, &json!("3"))
    );
    let trace = collector.get("/api/traces/1").await.json();
    assert_eq!(trace["data"][0]["spans"].as_array().map(Vec::len), Some(1));
    assert_eq!(collector.get("/api/workbench/hops").await.json()["hops"][0]["count"], 1);
    assert_eq!(collector.metric("collector_rejected_spans_total").await, 3);
    collector.stop().await;
}

#[tokio::test]
async fn grpc_accepts_gzip_and_refuses_long_messages_permanently() {
    let collector = Collector::start().await;
    let client = TraceServiceClient::connect(format!("http://{}", collector.grpc)).await.unwrap();
    let mut client = client.send_compressed(CompressionEncoding::Gzip);
    let message = protobuf(&export("web", "test", json!([span(7, 1, 0, SERVER)])));
    let reply = client.export(message).await.unwrap().into_inner();
    assert_eq!(reply.partial_success, None);
    assert_eq!(collector.get("/api/traces/7").await.status, StatusCode::OK);

    let mut long = span(8, 1, 0, SERVER);
    long["name"] = json!("x".repeat(16 << 20));
    let refused = client.export(protobuf(&export("web", "test", json!([long])))).await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::InvalidArgument, "a status that clients do not retry: {refused}");
    assert_eq!(collector.metric(r#"collector_refused_requests_total{reason="too_large"}"#).await, 1);
    assert_eq!(collector.get("/api/traces/8").await.status, StatusCode::NOT_FOUND);
    let again = protobuf(&export("web", "test", json!([span(9, 1, 0, SERVER)])));
    client.export(again).await.unwrap();
    assert_eq!(collector.metric(r#"collector_received_spans_total{transport="grpc"}"#).await, 2);
    collector.stop().await;
}

#[tokio::test]
async fn grpc_refuses_long_compressed_messages_permanently() {
    let collector = Collector::start().await;
    let client = TraceServiceClient::connect(format!("http://{}", collector.grpc)).await.unwrap();
    let mut client = client.send_compressed(CompressionEncoding::Gzip);
    // Marsaglia's xorshift: 6 random bits a byte, which gzip compresses to three quarters, more than the memory budget.
    let noise = std::iter::successors(Some(1_u64), |n| {
        let n = n ^ n << 13;
        let n = n ^ n >> 7;
        Some(n ^ n << 17)
    });
    let noise = noise.take(52 << 20).map(|bits| char::from(b'0' + (bits >> 30 & 63) as u8));
    let noise: String = noise.collect();
    let mut long = span(8, 1, 0, SERVER);
    long["name"] = json!(noise);
    let refused = client.export(protobuf(&export("web", "test", json!([long])))).await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::InvalidArgument, "a status that clients do not retry: {refused}");
    assert_eq!(collector.metric(r#"collector_refused_requests_total{reason="too_large"}"#).await, 1);
    collector.stop().await;
}

#[tokio::test]
async fn answers_health_checks_and_stops_without_waiting_for_idle_connections() {
    let collector = Collector::start().await;
    for path in ["/health/live", "/health/ready"] {
        assert_eq!(collector.get(path).await.status, StatusCode::OK, "{path}");
    }
    let idle = TraceServiceClient::connect(format!("http://{}", collector.grpc)).await.unwrap();
    let started = std::time::Instant::now();
    collector.stop().await;
    assert!(started.elapsed() < telemetry::server::DRAIN_DEADLINE, "{:?}", started.elapsed());
    drop(idle);
}

#[tokio::test]
async fn rejects_only_the_malformed_span_of_a_message() {
    let collector = Collector::start().await;
    let spans = [span(1, 1, 0, SERVER), span(2, 2, 0, SERVER), span(3, 3, 0, SERVER)];
    let mut message = protobuf(&export("web", "test", json!(spans))).encode_to_vec();
    let name = b"operation 2";
    let at = message.windows(name.len()).position(|window| window == name).unwrap();
    // The wire type of the name becomes that of a group, which protobuf no longer has.
    message[at - 2] |= 3;
    let reply = collector.otlp(&[PROTOBUF], message).await;
    let reply = ExportTraceServiceResponse::decode(reply.body).unwrap().partial_success.unwrap();
    assert_eq!(reply.rejected_spans, 1);
    assert!(reply.error_message.contains("wrong wire type"), "{}", reply.error_message);
    for (trace, status) in [(1, StatusCode::OK), (2, StatusCode::NOT_FOUND), (3, StatusCode::OK)] {
        assert_eq!(collector.get(&format!("/api/traces/{trace}")).await.status, status, "trace {trace}");
    }
    collector.stop().await;
}

#[tokio::test]
async fn accepts_a_long_resource_with_many_scopes() {
    let collector = Collector::start().await;
    let long = json!({ "key": "long", "value": { "stringValue": "x".repeat(3 << 20) } });
    let spans = (1..=2000).map(|trace| span(trace, 1, 0, SERVER));
    let mut message = protobuf(&export("web", "test", json!([])));
    let resource_spans = &mut message.resource_spans[0];
    resource_spans.resource.as_mut().unwrap().attributes.push(serde_json::from_value(long).unwrap());
    let of_scope = |(number, span): (usize, serde_json::Value)| {
        let scope = format!("scope {number}");
        protobuf(&export("web", &scope, json!([span]))).resource_spans.remove(0).scope_spans.remove(0)
    };
    resource_spans.scope_spans = spans.enumerate().map(of_scope).collect();
    let reply = collector.otlp(&[PROTOBUF], message.encode_to_vec()).await;
    assert_eq!((reply.status, &*reply.body), (StatusCode::OK, &b""[..]));
    for trace in [1, 1500, 2000] {
        let path = format!("/api/v3/traces/{}", hex(trace));
        assert!(collector.get(&path).await.body.len() > 3 << 20, "trace {trace}");
    }
    let bytes = collector.metric("collector_store_bytes").await;
    assert!((6 << 20..10 << 20).contains(&bytes), "{bytes}: the resource is stored once");
    collector.stop().await;
}

#[tokio::test]
async fn a_resource_larger_than_its_share_of_the_store_displaces_nothing() {
    let collector = Collector::with(16 << 20, None).await;
    for trace in 1..=10 {
        collector.accept("web", json!([span(trace, 1, 0, SERVER)])).await;
    }
    let long = json!({ "key": "long", "value": { "stringValue": "x".repeat(15 << 20) } });
    let mut message = protobuf(&export("huge", "test", json!([span(99, 1, 0, SERVER)])));
    let resource = message.resource_spans[0].resource.as_mut().unwrap();
    resource.attributes.push(serde_json::from_value(long).unwrap());
    let reply = collector.otlp(&[PROTOBUF], message.encode_to_vec()).await;
    assert_eq!((reply.status, &*reply.body), (StatusCode::OK, &b""[..]), "accepted");
    assert_eq!(collector.metric(r#"collector_evicted_traces_total{reason="too_large"}"#).await, 1);
    assert_eq!(collector.metric("collector_store_traces").await, 10);
    assert!(collector.metric("collector_store_bytes").await < 1 << 20, "nothing remains of it");
    collector.stop().await;
}

#[tokio::test]
async fn loss_reports_with_extreme_values_do_not_corrupt_the_metrics() {
    let collector = Collector::start().await;
    for _ in 0..3 {
        collector.report_losses("los\"s\nx", i64::MAX, "a\n\"b\\", []).await;
    }
    let metric = r#"collector_exporter_dropped_spans_total{service="los_s_x",reason="a__b_"}"#;
    assert_eq!(collector.metric(metric).await, u64::MAX);
    collector.stop().await;
}

#[tokio::test]
async fn json_with_millions_of_parts_is_cut_and_counted() {
    let collector = Collector::start().await;
    let of = |spans: String| format!(r#"{{"resourceSpans":[{{"scopeSpans":[{{"spans":[{spans}]}}]}}]}}"#);
    let many = |item: &str| format!("{}{item}", format!("{item},").repeat(450_000));
    let reply = collector.otlp(&[JSON, GZIP], gzip(of(many("{}")).as_bytes())).await;
    assert_eq!(reply.json()["partialSuccess"]["rejectedSpans"], "450001", "every span is counted");
    let mut long = span(7, 1, 0, SERVER);
    long["links"] = json!([]);
    let links = of(long.to_string().replace(r#""links":[]"#, &format!(r#""links":[{}]"#, many("{}"))));
    let reply = collector.otlp(&[JSON, GZIP], gzip(links.as_bytes())).await;
    assert_eq!((reply.status, reply.json()), (StatusCode::OK, json!({})));
    let trace = collector.get("/api/v3/traces/7").await.json();
    let span = &trace["result"]["resourceSpans"][0]["scopeSpans"][0]["spans"][0];
    let dropped = span["droppedLinksCount"].as_u64().unwrap();
    assert_eq!(collector.metric("collector_cut_parts_total").await, dropped);
    assert!((430_000..440_000).contains(&dropped), "{dropped}");
    assert_eq!(collector.otlp(&[JSON], "[]").await.status, StatusCode::BAD_REQUEST);
    collector.stop().await;
}
