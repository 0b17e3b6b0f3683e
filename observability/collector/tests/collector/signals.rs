//! Metrics, logs and profiles are accepted and counted; the first reply to each sender reports that they are not kept.

use opentelemetry::logs::{LogRecord as _, Logger as _, LoggerProvider as _};
use opentelemetry::metrics::MeterProvider as _;
use opentelemetry_otlp::{LogExporter, MetricExporter, Protocol, WithExportConfig as _};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceResponse;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::logs::SdkLoggerProvider;
use opentelemetry_sdk::metrics::SdkMeterProvider;
use prost::Message as _;
use serde_json::{Value, json};

use crate::support::{Collector, JSON};

const PROTOBUF: (&str, &str) = ("content-type", "application/x-protobuf");

async fn discarded(collector: &Collector, signal: &str) -> [u64; 2] {
    let metric = |of: &str| format!(r#"collector_discarded_{of}_total{{signal="{signal}"}}"#);
    [collector.metric(&metric("requests")).await, collector.metric(&metric("items")).await]
}

fn resource(service: &str) -> Value {
    json!({ "attributes": [{ "key": "service.name", "value": { "stringValue": service } }] })
}

fn logs(service: &str) -> Value {
    let record = json!({ "body": { "stringValue": "hello" } });
    json!({ "resourceLogs": [{ "resource": resource(service), "scopeLogs": [{ "logRecords": [record, record] }] }] })
}

fn metrics(service: &str) -> Value {
    let metrics = json!([
        { "name": "a", "sum": { "dataPoints": [{ "asInt": "1" }, { "asInt": "2" }] } },
        { "name": "b", "gauge": { "dataPoints": [{ "asDouble": 0.5 }] } },
    ]);
    json!({ "resourceMetrics": [{ "resource": resource(service), "scopeMetrics": [{ "metrics": metrics }] }] })
}

/// Encodes fields of length-delimited messages around each other, outermost first.
fn nested(numbers: &[u8], content: &[u8]) -> Vec<u8> {
    numbers
        .iter()
        .rev()
        .fold(content.to_vec(), |inner, number| [&[number << 3 | 2, inner.len() as u8][..], &inner].concat())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_metrics_and_logs_of_the_opentelemetry_sdk_are_accepted() {
    let collector = Collector::start().await;
    let grpc = format!("http://{}", collector.grpc);
    let http = |signal: &str| format!("http://{}/v1/{signal}", collector.http);
    let exporter = MetricExporter::builder().with_tonic().with_endpoint(&grpc).build().unwrap();
    let resource = Resource::builder_empty().with_service_name("shop").build();
    let provider =
        SdkMeterProvider::builder().with_periodic_exporter(exporter).with_resource(resource).build();
    provider.meter("test").u64_counter("requests").build().add(1, &[]);
    provider.meter("test").f64_histogram("duration").build().record(0.5, &[]);
    tokio::task::spawn_blocking(move || provider.shutdown()).await.unwrap().unwrap();
    assert_eq!(discarded(&collector, "metrics").await, [1, 2]);

    let logs = || LogExporter::builder();
    let logs = [
        logs().with_tonic().with_endpoint(&grpc).build(),
        logs().with_http().with_endpoint(http("logs")).with_protocol(Protocol::HttpBinary).build(),
        logs().with_http().with_endpoint(http("logs")).with_protocol(Protocol::HttpJson).build(),
    ];
    for exporter in logs {
        let provider = SdkLoggerProvider::builder().with_simple_exporter(exporter.unwrap()).build();
        let logger = provider.logger("test");
        let mut record = logger.create_log_record();
        record.set_body("hello".into());
        // The simple exporter sends at once, and its client needs a thread of the runtime.
        tokio::task::block_in_place(|| {
            logger.emit(record);
            provider.shutdown().unwrap();
        });
    }
    assert_eq!(discarded(&collector, "logs").await, [3, 3]);
    collector.stop().await;
}

#[tokio::test]
async fn only_the_first_reply_to_a_sender_reports_what_is_not_kept() {
    let collector = Collector::start().await;
    let send = async |path: &str, body: Value| {
        let reply = collector.otlp_at("POST", path, &[JSON], body.to_string()).await;
        assert_eq!(reply.status, 200, "{path}: {:?}", reply.body);
        reply.json()
    };
    let first = send("/v1/metrics", metrics("shop")).await;
    assert_eq!(first["partialSuccess"]["rejectedDataPoints"], "3");
    let message = first["partialSuccess"]["errorMessage"].as_str().unwrap();
    assert!(message.contains("not kept") && message.contains("OTEL_METRICS_EXPORTER=none"), "{message}");
    assert_eq!(send("/v1/metrics", metrics("shop")).await, json!({}));
    assert_eq!(send("/v1/logs", logs("shop")).await["partialSuccess"]["rejectedLogRecords"], "2");
    assert_eq!(send("/v1/logs", logs("shop")).await, json!({}));
    assert_eq!(send("/v1/logs", logs("other")).await["partialSuccess"]["rejectedLogRecords"], "2");
    assert_eq!(send("/v1/logs", json!({})).await, json!({}));
    assert_eq!(discarded(&collector, "metrics").await, [2, 6]);
    assert_eq!(discarded(&collector, "logs").await, [4, 6]);
    collector.stop().await;
}

#[tokio::test]
async fn each_signal_is_counted_over_grpc_and_in_protobuf() {
    let collector = Collector::start().await;
    for (signal, service, path, levels) in [
        ("metrics", "metrics.v1.MetricsService", "/v1/metrics", &[1, 2, 2, 5, 1][..]),
        ("metrics", "metrics.v1.MetricsService", "/v1/metrics", &[1, 2, 2, 11, 1]),
        ("logs", "logs.v1.LogsService", "/v1/logs", &[1, 2, 2]),
        ("profiles", "profiles.v1development.ProfilesService", "/v1development/profiles", &[1, 2, 2]),
    ] {
        let message = nested(levels, b"");
        let before = discarded(&collector, signal).await;
        let reply = collector.otlp_at("POST", path, &[PROTOBUF], message.clone()).await;
        assert_eq!((reply.status.as_u16(), reply.content_type.as_str()), (200, PROTOBUF.1), "{path}");
        let told = ExportTraceServiceResponse::decode(reply.body).unwrap().partial_success;
        assert_eq!(told.map(|told| told.rejected_spans), (before == [0, 0]).then_some(1), "{path}");
        let path = format!("/opentelemetry.proto.collector.{service}/Export");
        let frame = [&[0, 0, 0, 0, message.len() as u8][..], &message].concat();
        let (status, _) = collector.grpc(&path, &[("content-type", "application/grpc")], frame).await;
        assert_eq!(status.code(), tonic::Code::Ok, "{path}: {status}");
        assert_eq!(discarded(&collector, signal).await, before.map(|count| count + 2), "{path}");
    }
    let frame = [0, 0, 0, 0, 0].to_vec();
    for path in ["/opentelemetry.proto.collector.logs.v1.LogsService/Other", "/other.Service/Export"] {
        let headers = [("content-type", "application/grpc")];
        let (status, _) = collector.grpc(path, &headers, frame.clone()).await;
        assert_eq!(status.code(), tonic::Code::Unimplemented, "{path}");
        assert!(status.message().contains(path), "{status}");
    }
    collector.stop().await;
}
