//! Passing on: what came in comes out at a second backend, and a dead one costs the senders nothing.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use collector::{Error, Listeners, Settings, run};
use http::StatusCode;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_client::TraceServiceClient;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTracePartialSuccess, ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tonic::transport::server::{Server, TcpIncoming};
use tonic::{Code, Request, Response, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

use crate::support::{Collector, export, hex, settings, span};

#[tokio::test]
async fn a_second_backend_gets_everything() {
    let second = Collector::start().await;
    let first = Collector::with(64 << 20, Some(format!("http://{}", second.grpc))).await;
    for trace in 1..=50 {
        first.accept("shop", json!([span(trace, 1, 0, 2), span(trace, 2, 1, 3)])).await;
    }
    first.metric_becomes("collector_forwarded_spans_total", 100).await;
    let path = &format!("/api/traces/{}", hex(31));
    let (at_first, at_second) = (first.get(path).await.json(), second.get(path).await.json());
    assert_eq!(at_first, at_second);
    assert_eq!(at_second["data"][0]["spans"].as_array().map(Vec::len), Some(2));
    assert_eq!(second.metric(r#"collector_received_spans_total{transport="grpc"}"#).await, 100);
    first.stop().await;
    second.stop().await;
}

#[tokio::test]
async fn what_waits_is_passed_on_before_the_stop() {
    let second = Collector::start().await;
    let first = Collector::with(64 << 20, Some(format!("http://{}", second.grpc))).await;
    let spans: Vec<Value> = (1..=5000).map(|trace| span(trace, 1, 0, 2)).collect();
    for some in spans.chunks(500) {
        first.accept("shop", json!(some)).await;
    }
    first.stop().await;
    assert_eq!(second.metric(r#"collector_received_spans_total{transport="grpc"}"#).await, 5000);
    second.stop().await;
}

/// The second collector shows what the first one, stopped while others sent to it, had taken.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_accepted_before_the_stop_is_processed() {
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

/// Sends traces of one span, one after another; returns those that were accepted.
async fn send_until_refused(address: SocketAddr, sender: u128) -> Vec<u128> {
    let mut client = TraceServiceClient::connect(format!("http://{address}")).await.unwrap();
    let mut accepted = Vec::new();
    for number in 1.. {
        let trace = sender << 64 | number;
        let message = export("shop", "test", json!([span(trace, 1, 0, 2)]));
        match client.export(serde_json::from_value::<ExportTraceServiceRequest>(message).unwrap()).await {
            Ok(_) => accepted.push(trace),
            Err(_) => break,
        }
    }
    accepted
}

#[tokio::test]
async fn a_backend_that_is_not_there_costs_ingest_nothing_and_every_span_is_counted() {
    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let collector = Collector::with(64 << 20, Some(format!("http://{nobody}"))).await;
    let started = Instant::now();
    for trace in 1..=20 {
        collector.accept("shop", json!([span(trace, 1, 0, 2)])).await;
    }
    // One batch alone takes its attempts' pauses, two seconds, to be given up.
    assert!(started.elapsed() < Duration::from_secs(2), "{:?}", started.elapsed());
    assert_eq!(collector.get(&format!("/api/traces/{}", hex(20))).await.status, StatusCode::OK);
    let unreachable = r#"collector_forward_dropped_spans_total{reason="unreachable"}"#;
    collector.metric_becomes(unreachable, 1).await;
    collector.stop().await;
}

#[tokio::test]
async fn a_backend_that_never_answers_fills_the_queue_and_the_rest_is_dropped_and_counted() {
    // Accepts connections, by its backlog, and says nothing.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let collector = Collector::with(64 << 20, Some(format!("http://{}", silent.local_addr().unwrap()))).await;
    let megabyte = "x".repeat(1 << 20);
    let started = Instant::now();
    for trace in 1..=12 {
        let mut large = span(trace, 1, 0, 2);
        large["attributes"] = json!([{ "key": "blob", "value": { "stringValue": megabyte } }]);
        collector.accept("shop", json!([large])).await;
    }
    assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
    let full = collector.metric(r#"collector_forward_dropped_spans_total{reason="queue_full"}"#).await;
    assert!((4..=6).contains(&full), "some 8 of 12 fit: {full}");
    assert!(collector.metric("collector_forward_queue_bytes").await <= 8 << 20);
    collector.stop().await;
}

/// Takes part of what it is sent, puts off or refuses the rest.
#[derive(Clone)]
struct Choosy(Arc<AtomicU64>);

#[tonic::async_trait]
impl TraceService for Choosy {
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
            "operation 1" => return Err(Status::invalid_argument("never")),
            "operation 2" => return Err(Status::resource_exhausted("and no word of when")),
            "operation 3" if self.0.fetch_add(1, Relaxed) == 0 => return Err(later()),
            "operation 4" => Some(ExportTracePartialSuccess { rejected_spans: 2, ..Default::default() }),
            _ => None,
        };
        Ok(Response::new(ExportTraceServiceResponse { partial_success }))
    }
}

#[tokio::test]
async fn what_a_backend_refuses_rejects_or_puts_off_is_told_apart() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let calls = Arc::new(AtomicU64::new(0));
    let service = TraceServiceServer::new(Choosy(Arc::clone(&calls)));
    tokio::spawn(Server::builder().add_service(service).serve_with_incoming(TcpIncoming::from(listener)));
    let collector = Collector::with(64 << 20, Some(format!("http://{address}"))).await;
    for id in 1..=5 {
        let spans: Vec<Value> = (0..3).map(|trace| span(u128::from(id) * 10 + trace, id, 0, 2)).collect();
        collector.accept("shop", json!(spans)).await;
    }
    let dropped = |reason| format!("collector_forward_dropped_spans_total{{reason=\"{reason}\"}}");
    collector.metric_becomes("collector_forwarded_spans_total", 7).await;
    assert_eq!(collector.metric(&dropped("refused")).await, 6);
    assert_eq!(collector.metric(&dropped("rejected")).await, 2);
    assert_eq!(calls.load(Relaxed), 2, "tried again");
    collector.stop().await;
}

#[tokio::test]
async fn an_endpoint_that_is_none_is_refused_at_the_start() {
    for endpoint in ["", "localhost:4317", "https://localhost:4317", "http://", "nonsense"] {
        let settings = Settings { otlp_forward_endpoint: Some(endpoint.to_owned()), ..settings() };
        let listeners = Listeners::bind(&settings).await.unwrap();
        let running = run(listeners, &settings, tokio_util::sync::CancellationToken::new());
        let refused = tokio::time::timeout(Duration::from_secs(5), running).await.expect("returns at once");
        let Err(Error::Io(error)) = refused else { panic!("{endpoint:?} is accepted") };
        assert_eq!(error.kind(), std::io::ErrorKind::InvalidInput, "{endpoint:?}");
    }
}
