//! Jaeger's API of a running collector: what came in over OTLP is found, and what no client would ask harms nobody.

use http::StatusCode;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::support::{Collector, export, hex, span};

const WINDOW: &str = "query.startTimeMin=1970-01-01T00:00:00Z&query.startTimeMax=1970-01-02T00:00:00Z";

#[tokio::test]
async fn what_two_services_sent_is_found_by_both_versions() {
    let collector = Collector::start().await;
    collector.accept("web", json!([span(7, 1, 0, 2)])).await;
    collector.accept("store", json!([span(7, 2, 1, 2)])).await;

    let v1 = collector.get("/api/traces?service=store&start=0&end=2000000&minDuration=2ms").await.json();
    let spans = v1["data"][0]["spans"].as_array().unwrap();
    assert_eq!(spans[1]["references"][0]["spanID"], spans[0]["spanID"]);
    let v3 = collector.get(&format!("/api/v3/traces/{}", hex(7))).await.json();
    assert_eq!(v3["result"]["resourceSpans"].as_array().map(Vec::len), Some(2));
    let summaries = collector.get(&format!("/api/v3/trace-summaries?query.serviceName=store&{WINDOW}")).await;
    let expected = json!([{ "name": "store", "spanCount": 1 }, { "name": "web", "spanCount": 1 }]);
    assert_eq!(summaries.content_type, "application/json");
    assert_eq!(summaries.json()["summaries"][0]["services"], expected);
    let calls = collector.get("/api/dependencies?endTs=2000&lookback=2000").await.json();
    assert_eq!(calls["data"], json!([{ "parent": "web", "child": "store", "callCount": 1 }]));
    collector.stop().await;
}

#[tokio::test]
async fn a_file_of_the_ui_is_shown_and_not_kept() {
    let collector = Collector::start().await;
    let reply = collector.post("/api/transform", &export("web", "test", json!([span(7, 1, 0, 2)]))).await;
    assert_eq!(
        (reply.status, &reply.json()["data"][0]["spans"][0]["duration"]),
        (StatusCode::OK, &json!(2000))
    );
    assert_eq!(collector.get("/api/traces/7").await.status, StatusCode::NOT_FOUND);
    assert_eq!(collector.get("/api/workbench/hops").await.json(), json!({ "hops": [] }));
    collector.stop().await;
}

#[tokio::test]
async fn other_parts_of_the_query_server_are_not_hidden_by_unknown_paths() {
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
async fn a_query_of_ten_megabytes_is_refused_and_others_go_on() {
    let collector = Collector::start().await;
    collector.accept("web", json!([span(7, 1, 0, 2)])).await;
    let (mut from, mut to) = TcpStream::connect(collector.query).await.unwrap().into_split();
    let writing = tokio::spawn(async move {
        let request = format!("GET /api/traces?service={} HTTP/1.1\r\nhost: a\r\n\r\n", "s".repeat(10 << 20));
        // The server hangs up on the way.
        let _ = to.write_all(request.as_bytes()).await;
    });
    let mut reply = Vec::new();
    let _ = from.read_to_end(&mut reply).await;
    writing.await.unwrap();
    // A connection that is reset may take its reply along.
    assert!(reply.is_empty() || reply.starts_with(b"HTTP/1.1 4"), "{:?}", String::from_utf8_lossy(&reply));
    let services: Value = collector.get("/api/services").await.json();
    assert_eq!(services["data"], json!(["web"]));
    collector.stop().await;
}
