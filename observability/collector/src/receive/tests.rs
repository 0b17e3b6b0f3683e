use std::sync::Arc;

use axum::body::Body;
use axum::http::Request;
use http_body_util::BodyExt as _;
use tower::ServiceExt as _;

use super::{Receiver, grpc, http};
use crate::ingest::Ingest;

fn receiver() -> Arc<Receiver> {
    Arc::new(Receiver::new(Arc::new(Ingest::new(1 << 20, None)), 0))
}

fn endless() -> Body {
    Body::from_stream(futures::stream::pending::<Result<&str, std::io::Error>>())
}

fn timeouts(receiver: &Receiver) -> u64 {
    receiver.refusals().find_map(|(reason, count)| (reason == "timeout").then_some(count)).unwrap()
}

/// The paused clock advances to the next timer while all tasks wait.
#[tokio::test(start_paused = true)]
async fn a_slow_sender_gets_a_retry_delay_and_is_counted() {
    let receiver = receiver();
    for content_type in ["application/json", "application/x-protobuf"] {
        let request = Request::post("/v1/traces").header("content-type", content_type);
        let request = request.body(endless()).unwrap();
        let reply = http::router(Arc::clone(&receiver), &[]).oneshot(request).await.unwrap();
        assert_eq!((reply.status().as_u16(), &reply.headers()["retry-after"]), (503, &"1".parse().unwrap()));
        assert_eq!(reply.headers()["content-type"], content_type);
    }
    assert_eq!(timeouts(&receiver), 2);
}

#[tokio::test(start_paused = true)]
async fn a_slow_sender_over_grpc_may_retry_and_is_counted() {
    let receiver = receiver();
    let request = Request::post("/opentelemetry.proto.collector.trace.v1.TraceService/Export");
    let request = request.header("content-type", "application/grpc").body(endless()).unwrap();
    let reply = grpc::router(Arc::clone(&receiver)).oneshot(request).await.unwrap();
    let status = tonic::Status::from_header_map(reply.headers()).unwrap();
    assert_eq!(status.code(), tonic::Code::ResourceExhausted);
    assert!(tonic_types::StatusExt::get_details_retry_info(&status).is_some(), "{status}");
    assert_eq!(timeouts(&receiver), 1);
}

#[tokio::test]
async fn a_refusal_repeats_only_the_ends_of_a_long_value() {
    let receiver = receiver();
    let body = format!(
        r#"{{"resourceSpans":[{{"scopeSpans":[{{"spans":[{{"kind":"{}"}}]}}]}}]}}"#,
        "é".repeat(1 << 20)
    );
    let request = Request::post("/v1/traces").header("content-type", "application/json");
    let request = request.body(Body::from(body)).unwrap();
    let reply = http::router(Arc::clone(&receiver), &[]).oneshot(request).await.unwrap();
    let message = reply.into_body().collect().await.unwrap().to_bytes();
    let message = String::from_utf8(message.to_vec()).unwrap();
    assert!(message.len() < 400, "{} bytes", message.len());
    assert!(message.contains("invalid value: string") && message.contains("at line 1"), "{message}");
}

#[tokio::test]
async fn an_unknown_method_is_named_up_to_a_maximum_length() {
    let refused = async |path: &str| {
        let request = Request::post(path).header("content-type", "application/grpc");
        let reply = grpc::router(receiver()).oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
        tonic::Status::from_header_map(reply.headers()).unwrap().message().to_owned()
    };
    let hint = "use Export of the trace, metrics, logs or profiles service";
    assert_eq!(refused("/a.B/Export").await, format!("no method /a.B/Export: {hint}"));
    let of_long = refused(&format!("/{}", "x".repeat(10_000))).await;
    assert!(of_long.len() < 400 && of_long.ends_with(hint), "{of_long}");
}
