//! Forwarding to a second backend; a failing one does not slow down ingest.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use collector::Error;
use http::StatusCode;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_client::TraceServiceClient;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTracePartialSuccess, ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::EntityRef;
use prost::Message as _;
use serde_json::{Value, json};
use tonic::transport::server::{Server, TcpIncoming};
use tonic::{Code, Request, Response, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

use crate::support::{CLIENT, Collector, SERVER, export, hex, listen, protobuf, span};

#[tokio::test]
async fn forwards_all_spans() {
    let second = Collector::start().await;
    let first = Collector::with(64 << 20, Some(format!("http://{}", second.grpc))).await;
    for trace in 1..=50 {
        first.accept("shop", json!([span(trace, 1, 0, SERVER), span(trace, 2, 1, CLIENT)])).await;
    }
    first.wait_for_metric("collector_forwarded_spans_total", 100).await;
    let path = &format!("/api/traces/{}", hex(31));
    let (at_first, at_second) = (first.get(path).await.json(), second.get(path).await.json());
    assert_eq!(at_first, at_second);
    assert_eq!(at_second["data"][0]["spans"].as_array().map(Vec::len), Some(2));
    assert_eq!(second.metric(r#"collector_received_spans_total{transport="grpc"}"#).await, 100);
    first.stop().await;
    second.stop().await;
}

#[tokio::test]
async fn forwards_repaired_spans_and_entities() {
    let second = Collector::start().await;
    let first = Collector::with(64 << 20, Some(format!("http://{}", second.grpc))).await;
    let mut message =
        protobuf(&export("shop", "test", json!([span(1, 1, 0, SERVER), span(1, 2, 1, CLIENT)])));
    let resource = message.resource_spans[0].resource.as_mut().unwrap();
    resource.entity_refs = vec![EntityRef { r#type: "service".to_owned(), ..EntityRef::default() }];
    let mut message = message.encode_to_vec();
    let at = message.windows(11).position(|window| window == b"operation 2").unwrap();
    message[at] = 0xff;
    first.otlp(&[("content-type", "application/x-protobuf")], message).await;
    first.wait_for_metric("collector_forwarded_spans_total", 2).await;
    let path = &format!("/api/v3/traces/{}", hex(1));
    let (at_first, at_second) = (first.get(path).await.json(), second.get(path).await.json());
    let resource_spans = &at_second["result"]["resourceSpans"][0];
    assert_eq!(resource_spans["resource"]["entityRefs"], json!([{ "type": "service" }]));
    let mut names: Vec<_> = resource_spans["scopeSpans"][0]["spans"].as_array().unwrap().iter().collect();
    names.sort_by_key(|span| span["spanId"].to_string());
    assert_eq!((&names[0]["name"], &names[1]["name"]), (&json!("operation 1"), &json!("\u{fffd}peration 2")));
    assert_eq!(at_first["result"]["resourceSpans"][0]["resource"], resource_spans["resource"]);
    assert_eq!(second.metric("collector_repaired_strings_total").await, 0, "it was repaired before");
    first.stop().await;
    second.stop().await;
}

#[tokio::test]
async fn forwards_queued_spans_before_it_stops() {
    let second = Collector::start().await;
    let first = Collector::with(64 << 20, Some(format!("http://{}", second.grpc))).await;
    let spans: Vec<Value> = (1..=5000).map(|trace| span(trace, 1, 0, SERVER)).collect();
    for batch in spans.chunks(500) {
        first.accept("shop", json!(batch)).await;
    }
    first.stop().await;
    assert_eq!(second.metric(r#"collector_received_spans_total{transport="grpc"}"#).await, 5000);
    second.stop().await;
}

/// Stops the first collector during ingest and asserts that the second one has all accepted spans.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn processes_everything_accepted_before_the_stop() {
    let second = Collector::start().await;
    let first = Collector::with(64 << 20, Some(format!("http://{}", second.grpc))).await;
    let address = first.grpc;
    let senders: Vec<_> =
        (0..4_u128).map(|sender| tokio::spawn(send_until_refused(address, sender))).collect();
    while first.metric(r#"collector_received_spans_total{transport="grpc"}"#).await < 200 {
        tokio::task::yield_now().await;
    }
    first.stop().await;
    let mut accepted = 0;
    for sender in senders {
        for trace in sender.await.unwrap() {
            let reply = second.get(&format!("/api/traces/{}", hex(trace))).await;
            assert_eq!(reply.status, StatusCode::OK, "{}", hex(trace));
            accepted += 1;
        }
    }
    assert!(accepted >= 190, "{accepted}");
    second.stop().await;
}

/// Sends traces of one span one after another, and returns the accepted ones.
async fn send_until_refused(address: SocketAddr, sender: u128) -> Vec<u128> {
    let mut client = TraceServiceClient::connect(format!("http://{address}")).await.unwrap();
    let mut accepted = Vec::new();
    for number in 1.. {
        let trace = sender << 64 | number;
        let message = export("shop", "test", json!([span(trace, 1, 0, SERVER)]));
        match client.export(protobuf(&message)).await {
            Ok(_) => accepted.push(trace),
            Err(_) => break,
        }
    }
    accepted
}

#[tokio::test]
async fn an_unreachable_backend_does_not_delay_ingest_and_its_spans_are_counted() {
    let unused = listen().await.local_addr().unwrap();
    let collector = Collector::with(64 << 20, Some(format!("http://{unused}"))).await;
    let started = Instant::now();
    for trace in 1..=20 {
        collector.accept("shop", json!([span(trace, 1, 0, SERVER)])).await;
    }
    // Giving up a single batch takes 2 s of pauses between the attempts.
    assert!(started.elapsed() < Duration::from_secs(2), "{:?}", started.elapsed());
    assert_eq!(collector.get(&format!("/api/traces/{}", hex(20))).await.status, StatusCode::OK);
    let unreachable = r#"collector_forward_dropped_spans_total{reason="unreachable"}"#;
    collector.wait_for_metric(unreachable, 1).await;
    collector.stop().await;
}

#[tokio::test]
async fn drops_and_counts_spans_when_an_unresponsive_backend_fills_the_queue() {
    // The operating system accepts connections into the backlog; they are never read.
    let silent = listen().await;
    let collector = Collector::with(64 << 20, Some(format!("http://{}", silent.local_addr().unwrap()))).await;
    let megabyte = "x".repeat(1 << 20);
    let started = Instant::now();
    for trace in 1..=12 {
        let mut large = span(trace, 1, 0, SERVER);
        large["attributes"] = json!([{ "key": "blob", "value": { "stringValue": megabyte } }]);
        collector.accept("shop", json!([large])).await;
    }
    assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
    let full = collector.metric(r#"collector_forward_dropped_spans_total{reason="queue_full"}"#).await;
    assert!((4..=6).contains(&full), "about 8 of 12 fit in the queue: {full}");
    assert!(collector.metric("collector_forward_queue_bytes").await <= 8 << 20);
    collector.stop().await;
}

/// A backend that accepts, rejects, postpones or refuses spans by their name.
#[derive(Clone)]
struct SelectiveBackend(Arc<AtomicU64>);

#[tonic::async_trait]
impl TraceService for SelectiveBackend {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let name = &request.get_ref().resource_spans[0].scope_spans[0].spans[0].name;
        let later = || {
            let details = ErrorDetails::with_retry_info(Some(Duration::from_millis(10)));
            Status::with_error_details(Code::ResourceExhausted, "later", details)
        };
        let partial_success = match name.as_str() {
            "operation 1" => return Err(Status::invalid_argument("invalid")),
            "operation 2" => return Err(Status::resource_exhausted("without retry info")),
            "operation 3" if self.0.fetch_add(1, Relaxed) == 0 => return Err(later()),
            "operation 4" => Some(ExportTracePartialSuccess { rejected_spans: 2, ..Default::default() }),
            _ => None,
        };
        Ok(Response::new(ExportTraceServiceResponse { partial_success }))
    }
}

#[tokio::test]
async fn counts_refused_and_rejected_spans_separately_and_retries_postponed_ones() {
    let listener = listen().await;
    let address = listener.local_addr().unwrap();
    let calls = Arc::new(AtomicU64::new(0));
    let service = TraceServiceServer::new(SelectiveBackend(Arc::clone(&calls)));
    tokio::spawn(Server::builder().add_service(service).serve_with_incoming(TcpIncoming::from(listener)));
    let collector = Collector::with(64 << 20, Some(format!("http://{address}"))).await;
    for id in 1..=5 {
        let spans: Vec<Value> =
            (0..3).map(|trace| span(u128::from(id) * 10 + trace, id, 0, SERVER)).collect();
        collector.accept("shop", json!(spans)).await;
    }
    let dropped = |reason| format!("collector_forward_dropped_spans_total{{reason=\"{reason}\"}}");
    collector.wait_for_metric("collector_forwarded_spans_total", 7).await;
    assert_eq!(collector.metric(&dropped("refused")).await, 6);
    assert_eq!(collector.metric(&dropped("rejected")).await, 2);
    assert_eq!(calls.load(Relaxed), 2, "the postponed span is retried");
    collector.stop().await;
}

#[tokio::test]
async fn rejects_invalid_endpoints_at_the_start() {
    for endpoint in ["", "localhost:4317", "https://localhost:4317", "http://", "nonsense"] {
        let refused = Collector::with(1 << 20, Some(endpoint.to_owned())).await.ended().await;
        let Err(Error::Io(error)) = refused else { panic!("{endpoint:?} is accepted") };
        assert_eq!(error.kind(), std::io::ErrorKind::InvalidInput, "{endpoint:?}");
    }
}
