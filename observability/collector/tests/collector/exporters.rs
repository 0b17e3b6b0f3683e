//! Round trips through all protocols of OpenTelemetry's exporters for Rust.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use opentelemetry::trace::{
    Event, Link, Span as _, SpanBuilder, SpanContext, SpanId, SpanKind, Status, TraceContextExt as _,
    TraceFlags, TraceId, TraceState, Tracer as _, TracerProvider as _,
};
use opentelemetry::{Array, Context, InstrumentationScope, KeyValue, Value as AnyValue};
use opentelemetry_otlp::{
    Compression, Protocol, SpanExporter, WithExportConfig as _, WithHttpConfig as _, WithTonicConfig as _,
};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{IdGenerator, SdkTracerProvider};
use serde_json::{Value, json};

use crate::support::{Collector, hex};

/// Larger than 64 bits; `SPAN` is larger than the integers that JavaScript represents exactly.
const TRACE: u128 = u128::MAX - 41;
const SPAN: u64 = u64::MAX - 41;

/// With digits below a microsecond.
const START_NS: u64 = 1_790_000_000_123_456_789;

/// Generates one trace id, and span ids in descending order.
#[derive(Debug)]
struct Ids {
    trace: u128,
    next: AtomicU64,
}

impl IdGenerator for Ids {
    fn new_trace_id(&self) -> TraceId {
        TraceId::from_bytes(self.trace.to_be_bytes())
    }

    fn new_span_id(&self) -> SpanId {
        SpanId::from_bytes(self.next.fetch_sub(1, Ordering::Relaxed).to_be_bytes())
    }
}

/// Returns the exporters with their names.
fn exporters(collector: &Collector) -> Vec<(&'static str, SpanExporter)> {
    let grpc = || SpanExporter::builder().with_tonic().with_endpoint(format!("http://{}", collector.grpc));
    let http = |protocol| {
        let endpoint = format!("http://{}/v1/traces", collector.http);
        SpanExporter::builder().with_http().with_endpoint(endpoint).with_protocol(protocol)
    };
    [
        ("gRPC", grpc().build()),
        ("gRPC, gzip", grpc().with_compression(Compression::Gzip).build()),
        ("HTTP protobuf", http(Protocol::HttpBinary).build()),
        ("HTTP protobuf, gzip", http(Protocol::HttpBinary).with_compression(Compression::Gzip).build()),
        ("HTTP JSON", http(Protocol::HttpJson).build()),
        ("HTTP JSON, gzip", http(Protocol::HttpJson).with_compression(Compression::Gzip).build()),
    ]
    .map(|(name, exporter)| (name, exporter.unwrap()))
    .into()
}

fn at(nanoseconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_nanos(START_NS + nanoseconds)
}

/// An attribute beyond the limits of the provider, which is dropped and counted.
fn beyond_limit() -> KeyValue {
    KeyValue::new("beyond limit", true)
}

/// Sends a root and a child that uses every field of a span.
fn send(trace: u128, exporter: SpanExporter) {
    let resource = Resource::builder_empty()
        .with_schema_url(
            [KeyValue::new("service.name", "shop"), KeyValue::new("host.cores", 2)],
            "https://resource.example/1",
        )
        .build();
    let provider = SdkTracerProvider::builder()
        .with_simple_exporter(exporter)
        .with_resource(resource)
        .with_id_generator(Ids { trace, next: AtomicU64::new(SPAN) })
        .with_max_attributes_per_span(10)
        .with_max_attributes_per_event(1)
        .with_max_attributes_per_link(1)
        .build();
    let scope = InstrumentationScope::builder("library")
        .with_version("1.2")
        .with_attributes([KeyValue::new("scope", "yes")])
        .with_schema_url("https://scope.example/2")
        .build();
    let tracer = provider.tracer_with_scope(scope);
    let root = SpanBuilder::from_name("GET /cart").with_kind(SpanKind::Server).with_start_time(at(0));
    let cx = Context::new().with_span(tracer.build_with_context(root, &Context::new()));

    let elsewhere = SpanContext::new(
        TraceId::from_bytes((TRACE - 1).to_be_bytes()),
        SpanId::from_bytes(7_u64.to_be_bytes()),
        TraceFlags::SAMPLED,
        true,
        TraceState::from_key_value([("vendor", "state")]).unwrap(),
    );
    let child = SpanBuilder::from_name("look up ü")
        .with_kind(SpanKind::Client)
        .with_start_time(at(1))
        .with_attributes([
            KeyValue::new("text", "ü \"quoted\" <b>"),
            KeyValue::new("empty", ""),
            KeyValue::new("yes", true),
            KeyValue::new("no", false),
            KeyValue::new("int", i64::MIN),
            KeyValue::new("double", 0.1),
            KeyValue::new("texts", AnyValue::Array(Array::String(vec!["a".into(), "".into()]))),
            KeyValue::new("ints", AnyValue::Array(Array::I64(vec![1, i64::MAX]))),
            KeyValue::new("doubles", AnyValue::Array(Array::F64(vec![0.5]))),
            KeyValue::new("bools", AnyValue::Array(Array::Bool(vec![true, false]))),
            beyond_limit(),
        ])
        .with_events(vec![Event::new("slow", at(2), vec![KeyValue::new("why", "lock"), beyond_limit()], 0)])
        .with_links(vec![Link::new(elsewhere, vec![KeyValue::new("link", 1), beyond_limit()], 0)]);
    let mut child = tracer.build_with_context(child, &cx);
    child.set_status(Status::error("too slow"));
    child.end_with_timestamp(at(1_000_002));
    cx.span().set_status(Status::Ok);
    cx.span().end_with_timestamp(at(2_000_003));
    provider.shutdown().unwrap();
}

/// Returns both spans in OTLP JSON, with attributes sorted by key as Jaeger does.
fn expected(trace: u128) -> Value {
    let nanos = |offset: u64| (START_NS + offset).to_string();
    let text = |key: &str, value: &str| json!({ "key": key, "value": { "stringValue": value } });
    let array =
        |key: &str, values: Value| json!({ "key": key, "value": { "arrayValue": { "values": values } } });
    json!([
        {
            "traceId": hex(trace), "spanId": format!("{:016x}", SPAN - 1), "parentSpanId": format!("{SPAN:016x}"),
            "flags": 257, "name": "look up ü", "kind": 3,
            "startTimeUnixNano": nanos(1), "endTimeUnixNano": nanos(1_000_002),
            "attributes": [
                array("bools", json!([{ "boolValue": true }, { "boolValue": false }])),
                { "key": "double", "value": { "doubleValue": 0.1 } },
                array("doubles", json!([{ "doubleValue": 0.5 }])),
                text("empty", ""),
                { "key": "int", "value": { "intValue": "-9223372036854775808" } },
                array("ints", json!([{ "intValue": "1" }, { "intValue": "9223372036854775807" }])),
                { "key": "no", "value": { "boolValue": false } },
                text("text", "ü \"quoted\" <b>"),
                array("texts", json!([{ "stringValue": "a" }, { "stringValue": "" }])),
                { "key": "yes", "value": { "boolValue": true } },
            ],
            "droppedAttributesCount": 1,
            "events": [{
                "timeUnixNano": nanos(2), "name": "slow", "attributes": [text("why", "lock")],
                "droppedAttributesCount": 1,
            }],
            "links": [{
                "traceId": hex(TRACE - 1), "spanId": "0000000000000007", "traceState": "vendor=state", "flags": 769,
                "attributes": [{ "key": "link", "value": { "intValue": "1" } }], "droppedAttributesCount": 1,
            }],
            "status": { "code": 2, "message": "too slow" },
        },
        {
            "traceId": hex(trace), "spanId": format!("{SPAN:016x}"), "flags": 257, "name": "GET /cart", "kind": 2,
            "startTimeUnixNano": nanos(0), "endTimeUnixNano": nanos(2_000_003), "status": { "code": 1 },
        },
    ])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn returns_the_same_spans_from_every_exporter() {
    let collector = Collector::start().await;
    for (trace, (name, exporter)) in (0..).map(|number| TRACE + number).zip(exporters(&collector)) {
        // The simple exporter sends when a span ends, and its client needs a thread of the runtime.
        tokio::task::block_in_place(|| send(trace, exporter));
        let reply = collector.get(&format!("/api/v3/traces/{}", hex(trace))).await.json();
        let mut spans = Vec::new();
        for of_resource in reply["result"]["resourceSpans"].as_array().unwrap() {
            let cores = json!({ "key": "host.cores", "value": { "intValue": "2" } });
            let attributes = of_resource["resource"]["attributes"].as_array().unwrap();
            assert!(attributes.len() == 2 && attributes.contains(&cores), "{name}: {attributes:?}");
            let [of_scope] = &of_resource["scopeSpans"].as_array().unwrap()[..] else { panic!("{reply}") };
            let yes = json!([{ "key": "scope", "value": { "stringValue": "yes" } }]);
            assert_eq!(
                of_scope["scope"],
                json!({ "name": "library", "version": "1.2", "attributes": yes }),
                "{name}"
            );
            assert_eq!(of_resource["schemaUrl"], "https://resource.example/1", "{name}");
            assert_eq!(of_scope["schemaUrl"], "https://scope.example/2", "{name}");
            spans.extend(of_scope["spans"].as_array().unwrap().iter().cloned());
        }
        assert_eq!(Value::Array(spans), expected(trace), "{name}");
    }
    collector.stop().await;
}
