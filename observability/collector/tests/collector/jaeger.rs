//! Jaeger's API of a running collector.

use http::StatusCode;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::support::{Collector, SERVER, WINDOW_V3, export, hex, span};

#[tokio::test]
async fn both_versions_find_the_spans_of_two_services() {
    let collector = Collector::start().await;
    collector.accept("web", json!([span(7, 1, 0, SERVER)])).await;
    collector.accept("store", json!([span(7, 2, 1, SERVER)])).await;

    let v1 = collector.get("/api/traces?service=store&start=0&end=2000000&minDuration=2ms").await.json();
    let spans = v1["data"][0]["spans"].as_array().unwrap();
    assert_eq!(spans[1]["references"][0]["spanID"], spans[0]["spanID"]);
    let v3 = collector.get(&format!("/api/v3/traces/{}", hex(7))).await.json();
    assert_eq!(v3["result"]["resourceSpans"].as_array().map(Vec::len), Some(2));
    let summaries =
        collector.get(&format!("/api/v3/trace-summaries?query.serviceName=store&{WINDOW_V3}")).await;
    let expected = json!([{ "name": "store", "spanCount": 1 }, { "name": "web", "spanCount": 1 }]);
    assert_eq!(summaries.content_type, "application/json");
    assert_eq!(summaries.json()["summaries"][0]["services"], expected);
    let calls = collector.get("/api/dependencies?endTs=2000&lookback=2000").await.json();
    assert_eq!(calls["data"], json!([{ "parent": "web", "child": "store", "callCount": 1 }]));
    collector.stop().await;
}

#[tokio::test]
async fn transform_converts_a_file_without_storing_it() {
    let collector = Collector::start().await;
    let reply =
        collector.post("/api/transform", &export("web", "test", json!([span(7, 1, 0, SERVER)]))).await;
    assert_eq!(
        (reply.status, &reply.json()["data"][0]["spans"][0]["duration"]),
        (StatusCode::OK, &json!(2000))
    );
    assert_eq!(collector.get("/api/traces/7").await.status, StatusCode::NOT_FOUND);
    assert_eq!(collector.get("/api/workbench/hops").await.json(), json!({ "hops": [] }));
    collector.stop().await;
}

#[tokio::test]
async fn unknown_api_paths_do_not_hide_the_workbench_api() {
    let collector = Collector::start().await;
    for path in ["/api/nosuch", "/api/workbench/nosuch", "/api/v3"] {
        let reply = collector.get(path).await;
        assert_eq!(
            (reply.status, reply.body.as_ref()),
            (StatusCode::NOT_FOUND, b"404 page not found\n".as_slice())
        );
    }
    assert_eq!(collector.get("/api/workbench/hops").await.status, StatusCode::OK);
    assert_eq!(
        collector.post("/api/workbench/ledger", &json!({ "traces": [] })).await.status,
        StatusCode::OK
    );
    collector.stop().await;
}

#[tokio::test]
async fn rejects_a_query_of_10_mib_and_keeps_serving() {
    let collector = Collector::start().await;
    collector.accept("web", json!([span(7, 1, 0, SERVER)])).await;
    let (mut from, mut to) = TcpStream::connect(collector.query).await.unwrap().into_split();
    let sender = tokio::spawn(async move {
        let request = format!("GET /api/traces?service={} HTTP/1.1\r\nhost: a\r\n\r\n", "s".repeat(10 << 20));
        // The server closes the connection before the end.
        let _ = to.write_all(request.as_bytes()).await;
    });
    let mut reply = Vec::new();
    let _ = from.read_to_end(&mut reply).await;
    sender.await.unwrap();
    // A connection reset may discard the reply.
    assert!(reply.is_empty() || reply.starts_with(b"HTTP/1.1 4"), "{:?}", String::from_utf8_lossy(&reply));
    let services: Value = collector.get("/api/services").await.json();
    assert_eq!(services["data"], json!(["web"]));
    collector.stop().await;
}
