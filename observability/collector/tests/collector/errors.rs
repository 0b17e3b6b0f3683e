//! Errors of OTLP/HTTP are in the format of the request; pages of listed origins may read them.

use http::StatusCode;
use prost::Message as _;
use serde_json::json;

use crate::support::{Collector, JSON, SERVER, export, settings, span};

const PROTOBUF: (&str, &str) = ("content-type", "application/x-protobuf");

/// `google.rpc.Status`, without its details.
#[derive(Clone, PartialEq, prost::Message)]
struct RpcStatus {
    #[prost(int32, tag = "1")]
    code: i32,
    #[prost(string, tag = "2")]
    message: String,
}

#[tokio::test]
async fn errors_have_the_content_type_of_the_request() {
    let collector = Collector::start().await;
    let too_long = vec![b' '; (16 << 20) + 1];
    let encoding = ("content-encoding", "br");
    for (method, path, headers, body, status) in [
        ("POST", "/v1/traces", &[][..], &b"x"[..], 400),
        ("POST", "/v1/logs", &[], b"x", 400),
        ("POST", "/v1/traces", &[encoding], b"x", 415),
        ("POST", "/v1/traces", &[("content-encoding", "gzip")], b"x", 400),
        ("POST", "/v1/metrics", &[], &too_long, 413),
        ("PUT", "/v1/traces", &[], b"", 405),
        ("POST", "/v1/nothing", &[], b"x", 404),
    ] {
        let reply = collector.otlp_at(method, path, &[&[PROTOBUF], headers].concat(), body.to_vec()).await;
        assert_eq!((reply.status.as_u16(), reply.content_type.as_str()), (status, PROTOBUF.1), "{path}");
        let error = RpcStatus::decode(reply.body).unwrap();
        assert!(error.code != 0 && !error.message.is_empty(), "{method} {path}: {error:?}");

        let reply = collector.otlp_at(method, path, &[&[JSON], headers].concat(), body.to_vec()).await;
        assert_eq!((reply.status.as_u16(), reply.content_type.as_str()), (status, "application/json"));
        assert_eq!(reply.json()["code"], error.code, "{method} {path}");
    }
    let reply = collector.otlp_at("GET", "/v1/traces", &[], "").await;
    assert_eq!((reply.status.as_u16(), reply.content_type.as_str()), (405, "application/json"));
    assert_eq!(reply.headers["allow"], "POST");
    let reply = collector.otlp(&[("content-type", "application/grpc")], "").await;
    assert_eq!((reply.status.as_u16(), reply.content_type.as_str()), (415, "application/json"));
    for (reason, count) in [
        ("invalid", 6),
        ("encoding", 2),
        ("too_large", 2),
        ("method", 3),
        ("unknown_path", 2),
        ("content_type", 1),
    ] {
        let metric = format!(r#"collector_refused_requests_total{{reason="{reason}"}}"#);
        assert_eq!(collector.metric(&metric).await, count, "{reason}");
    }
    collector.stop().await;
}

const SHOP: (&str, &str) = ("origin", "https://shop.example");
const UNLISTED: (&str, &str) = ("origin", "https://unlisted.example");
const METHOD: (&str, &str) = ("access-control-request-method", "POST");
const HEADERS: (&str, &str) = ("access-control-request-headers", "content-type,traceparent,x-tenant");

async fn with_origins(origins: &[&str]) -> Collector {
    let cors_origins = origins.iter().map(|origin| origin.parse().unwrap()).collect();
    Collector::run(collector::Settings { cors_origins, ..settings() }).await
}

#[tokio::test]
async fn pages_of_listed_origins_may_send_spans_and_read_errors() {
    let collector = with_origins(&["https://shop.example", "http://localhost:8080"]).await;
    let preflight = collector.otlp_at("OPTIONS", "/v1/traces", &[SHOP, METHOD, HEADERS], "").await;
    assert_eq!(preflight.status, StatusCode::OK);
    assert_eq!(preflight.headers["access-control-allow-origin"], SHOP.1);
    assert_eq!(preflight.headers["access-control-allow-methods"], "POST");
    assert_eq!(preflight.headers["access-control-allow-headers"], HEADERS.1);
    assert_eq!(preflight.headers["access-control-allow-credentials"], "true", "sendBeacon");
    let body = export("web", "test", json!([span(1, 1, 0, SERVER)])).to_string();
    let sent = collector.otlp(&[JSON, SHOP], body).await;
    assert_eq!(
        (sent.status, &sent.headers["access-control-allow-origin"]),
        (StatusCode::OK, &SHOP.1.parse().unwrap())
    );
    let refused = collector.otlp(&[JSON, SHOP], "x").await;
    assert_eq!(refused.status, StatusCode::BAD_REQUEST);
    assert_eq!(refused.headers["access-control-allow-origin"], SHOP.1);
    let preflight = collector.otlp_at("OPTIONS", "/v1/traces", &[UNLISTED, METHOD, HEADERS], "").await;
    assert!(!preflight.headers.contains_key("access-control-allow-origin"), "{:?}", preflight.headers);
    collector.stop().await;
}

#[tokio::test]
async fn every_origin_is_allowed_only_with_the_wildcard() {
    let closed = Collector::start().await;
    let preflight = closed.otlp_at("OPTIONS", "/v1/traces", &[SHOP, METHOD], "").await;
    assert_eq!(preflight.status, StatusCode::METHOD_NOT_ALLOWED);
    assert!(!preflight.headers.contains_key("access-control-allow-origin"), "{:?}", preflight.headers);
    closed.stop().await;

    let open = with_origins(&["https://shop.example", "*"]).await;
    let preflight = open.otlp_at("OPTIONS", "/v1/traces", &[UNLISTED, METHOD, HEADERS], "").await;
    assert_eq!(preflight.headers["access-control-allow-origin"], "*");
    assert!(!preflight.headers.contains_key("access-control-allow-credentials"));
    open.stop().await;
}
