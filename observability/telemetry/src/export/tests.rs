use std::sync::atomic::AtomicUsize;

use opentelemetry::trace::{
    SpanContext, SpanId, SpanKind, Status as SpanStatus, TraceFlags, TraceId, TraceState,
};
use opentelemetry::{Array, InstrumentationScope, KeyValue, Value};
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_sdk::trace::{SpanEvents, SpanLinks};
use tokio::net::TcpListener;
use tonic::transport::server::TcpIncoming;
use tonic::{Code, Request, Response, Status};

use super::*;
use crate::settings::Endpoint;

/// Answers the first request with `code`, further ones with success.
#[derive(Clone)]
struct Receiver {
    code: Code,
    requests: Arc<AtomicUsize>,
}

#[tonic::async_trait]
impl TraceService for Receiver {
    async fn export(
        &self,
        _: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        match self.requests.fetch_add(1, Relaxed) {
            0 => Err(Status::new(self.code, "first request")),
            _ => Ok(Response::new(ExportTraceServiceResponse::default())),
        }
    }
}

/// Exports one span to a receiver that answers `code` once, and returns the number of requests.
async fn requests_after(code: Code) -> usize {
    let receiver = Receiver { code, requests: Arc::default() };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let server = tonic::transport::Server::builder().add_service(TraceServiceServer::new(receiver.clone()));
    tokio::spawn(server.serve_with_incoming(TcpIncoming::from(listener)));
    let processor = processor(&url);
    processor.on_end(span("a", Vec::new()));
    tokio::task::spawn_blocking(move || processor.force_flush().unwrap()).await.unwrap();
    receiver.requests.load(Relaxed)
}

fn processor(url: &str) -> BatchProcessor {
    let settings = Settings { otlp_endpoint: Endpoint::Grpc(url.to_owned()), ..Settings::default() };
    BatchProcessor::start(url.to_owned(), &settings).unwrap()
}

fn span(name: &'static str, attributes: Vec<KeyValue>) -> SpanData {
    let trace = TraceId::from(1);
    SpanData {
        span_context: SpanContext::new(trace, SpanId::from(1), TraceFlags::SAMPLED, false, TraceState::NONE),
        parent_span_id: SpanId::INVALID,
        parent_span_is_remote: false,
        span_kind: SpanKind::Internal,
        name: name.into(),
        start_time: std::time::UNIX_EPOCH,
        end_time: std::time::UNIX_EPOCH,
        attributes,
        dropped_attributes_count: 0,
        events: SpanEvents::default(),
        links: SpanLinks::default(),
        status: SpanStatus::Unset,
        instrumentation_scope: InstrumentationScope::default(),
    }
}

/// An attribute of 1 MiB that is no text, so that its length has no limit.
fn mebibyte() -> Vec<KeyValue> {
    vec![KeyValue::new("numbers", Value::Array(Array::I64(vec![0; 1 << 17])))]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_that_the_backend_refuses_for_good_is_not_retried() {
    for code in [Code::InvalidArgument, Code::Unimplemented, Code::PermissionDenied, Code::Unauthenticated] {
        assert_eq!(requests_after(code).await, 1, "{code:?}");
    }
    assert_eq!(requests_after(Code::Unavailable).await, 2);
}

#[test]
fn a_long_value_is_cut_at_a_character_and_counted_with_its_length() {
    let text = "é".repeat(100);
    let list = Value::Array(Array::String(vec![text.clone().into(), "short".into()]));
    let mut long = span("a", vec![KeyValue::new("text", text.clone()), KeyValue::new("list", list)]);
    long.events.events = vec![opentelemetry::trace::Event::new(
        "e",
        std::time::UNIX_EPOCH,
        vec![KeyValue::new("text", text)],
        0,
    )];
    let whole = limits::cut(&mut long, 4096);
    let bytes = limits::cut(&mut long, 99);
    assert_eq!(long.attributes[0].value.as_str(), "é".repeat(49));
    let Value::Array(Array::String(texts)) = &long.attributes[1].value else { panic!("{long:?}") };
    assert_eq!((texts[0].as_str(), texts[1].as_str()), (&*"é".repeat(49), "short"));
    assert_eq!(long.events.events[0].attributes[0].value.as_str(), "é".repeat(49));
    assert_eq!(whole - bytes, 3 * (200 - 98));
}

/// The limit of the specification is one of attribute values only.
#[test]
fn names_and_status_texts_are_cut_at_a_length_of_their_own() {
    let named = |text: &'static str| {
        let mut span = span(text, vec![KeyValue::new("key", "value")]);
        span.events.events =
            vec![opentelemetry::trace::Event::new(text, std::time::UNIX_EPOCH, Vec::new(), 0)];
        span.status = SpanStatus::error(text);
        span
    };
    let texts = |span: &SpanData| {
        let SpanStatus::Error { description } = &span.status else { panic!("{span:?}") };
        [span.name.to_string(), span.events.events[0].name.to_string(), description.to_string()]
    };
    let mut short = named("GET /");
    limits::cut(&mut short, 0);
    assert_eq!(texts(&short), ["GET /"; 3]);
    assert_eq!(short.attributes[0].value.as_str(), "");
    let mut long = named("x".repeat(MAX_VALUE_BYTES + 1).leak());
    limits::cut(&mut long, 0);
    assert_eq!(texts(&long).map(|text| text.len()), [MAX_VALUE_BYTES; 3]);
}

#[test]
fn a_batch_is_bounded_in_bytes_and_has_at_least_one_span() {
    let mut pending = Pending::default();
    for bytes in [900_000, 900_000, 900_000, 3_000_000, 10] {
        pending.spans.push_back(Queued { span: span("a", Vec::new()), bytes });
        pending.bytes += bytes;
    }
    let batches: Vec<usize> =
        std::iter::from_fn(|| Some(pending.take_batch(512).len()).filter(|n| *n > 0)).collect();
    assert_eq!(batches, [2, 1, 1, 1]);
    assert_eq!(pending.bytes, 0);
}

#[test]
fn the_queue_is_bounded_in_bytes() {
    let processor = processor("http://127.0.0.1:1");
    let before = span_counts().queue_full;
    for _ in 0..200 {
        processor.on_end(span("a", mebibyte()));
    }
    assert!(processor.queue.lock().bytes <= MAX_QUEUE_BYTES);
    assert!(span_counts().queue_full - before >= 60, "200 MiB in a queue of 128 MiB and one batch");
    let _unsent = processor.shutdown_with_timeout(Duration::ZERO);
}
