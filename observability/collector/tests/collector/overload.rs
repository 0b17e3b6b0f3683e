//! With the memory budget used up, large messages are refused with a retry delay and small ones are accepted.

use http::StatusCode;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_client::TraceServiceClient;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tonic::codec::CompressionEncoding;
use tonic_types::StatusExt as _;

use crate::support::{Collector, SERVER, export, protobuf, span};

const LARGE: usize = 15_000_000;

/// Sends a large message except for its last byte.
async fn stalled(collector: &Collector) -> TcpStream {
    let mut stream = TcpStream::connect(collector.http).await.unwrap();
    let head = format!(
        "POST /v1/traces HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
        LARGE + 1
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    // Fails if the collector refuses the message meanwhile.
    let _ = stream.write_all(&vec![b' '; LARGE]).await;
    stream
}

#[tokio::test]
async fn refuses_large_messages_for_a_retry_and_accepts_small_ones() {
    let collector = Collector::with(1 << 20, None).await;
    let (first, second) = (stalled(&collector).await, stalled(&collector).await);
    collector.wait_for_metric("collector_inflight_bytes", 2 * LARGE as u64).await;

    let mut third = stalled(&collector).await;
    let mut reply = String::new();
    third.read_to_string(&mut reply).await.unwrap();
    assert!(reply.starts_with("HTTP/1.1 503 "), "{reply}");
    assert!(reply.to_ascii_lowercase().contains("\r\nretry-after: 1\r\n"), "{reply}");
    assert!(reply.contains("retry in 1 s"), "{reply}");

    let mut client = TraceServiceClient::connect(format!("http://{}", collector.grpc)).await.unwrap();
    let mut long = span(8, 1, 0, SERVER);
    long["name"] = json!("x".repeat(LARGE));
    let large = protobuf(&export("web", "test", json!([long])));
    let refused = client.export(large.clone()).await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::ResourceExhausted, "{refused}");
    let retry = refused.get_details_retry_info().and_then(|info| info.retry_delay);
    assert_eq!(retry, Some(std::time::Duration::from_secs(1)));
    assert_eq!(collector.metric(r#"collector_refused_requests_total{reason="overloaded"}"#).await, 2);

    collector.accept("web", json!([span(1, 1, 0, SERVER)])).await;
    client.export(protobuf(&export("web", "test", json!([span(2, 1, 0, SERVER)])))).await.unwrap();
    drop((first, second));
    collector.wait_for_metric("collector_inflight_bytes", 0).await;
    client.export(large).await.unwrap();
    assert_eq!(collector.get("/api/traces/2").await.status, StatusCode::OK);
    collector.stop().await;
}

#[tokio::test]
async fn compressed_messages_are_charged_for_their_decompressed_size() {
    let collector = Collector::with(1 << 20, None).await;
    let slow = (stalled(&collector).await, stalled(&collector).await);
    collector.wait_for_metric("collector_inflight_bytes", 2 * LARGE as u64).await;

    let client = TraceServiceClient::connect(format!("http://{}", collector.grpc)).await.unwrap();
    let mut client = client.send_compressed(CompressionEncoding::Gzip);
    let mut long = span(8, 1, 0, SERVER);
    long["name"] = json!("x".repeat(LARGE));
    let message = protobuf(&export("web", "test", json!([long])));
    let refused = client.export(message.clone()).await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::ResourceExhausted, "{refused}");
    assert!(refused.get_details_retry_info().is_some(), "{refused}");

    drop(slow);
    collector.wait_for_metric("collector_inflight_bytes", 0).await;
    client.export(message).await.unwrap();
    collector.wait_for_metric("collector_inflight_bytes", 0).await;
    collector.stop().await;
}
