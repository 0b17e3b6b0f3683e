//! Responses of the query port with gzip.

use std::io::Read as _;

use bytes::Bytes;
use flate2::read::GzDecoder;
use http::{Response, StatusCode, header};
use serde_json::json;

use crate::support::{Collector, SERVER, hex, span};

async fn collector_with_traces(service: &str) -> Collector {
    let collector = Collector::start().await;
    let spans: Vec<_> = (1..=30).map(|trace| span(trace, 1, 0, SERVER)).collect();
    collector.accept(service, json!(spans)).await;
    collector
}

fn is_gzip(response: &Response<Bytes>) -> bool {
    match response.headers().get(header::CONTENT_ENCODING) {
        None => false,
        Some(encoding) => {
            assert_eq!(encoding, "gzip");
            true
        }
    }
}

fn unzipped(response: &Response<Bytes>) -> Vec<u8> {
    let mut text = Vec::new();
    GzDecoder::new(&response.body()[..]).read_to_end(&mut text).unwrap();
    text
}

#[tokio::test]
async fn api_pages_and_metrics_are_compressed_for_clients_that_accept_gzip() {
    let collector = collector_with_traces("shop").await;
    for path in [
        "/api/traces?service=shop&start=0&end=60000000",
        "/api/workbench/traces",
        "/",
        "/style.css",
        &format!("/trace/{}", hex(1)),
        "/metrics",
    ] {
        let plain = collector.get(path).await;
        let gzip = collector.get_with(path, header::ACCEPT_ENCODING, "gzip").await;
        assert_eq!((gzip.status(), is_gzip(&gzip)), (StatusCode::OK, true), "{path}");
        assert_eq!(gzip.headers()[header::VARY], "accept-encoding", "{path}");
        assert_eq!(gzip.headers()[header::CONTENT_TYPE], plain.content_type, "{path}");
        assert!(gzip.body().len() < plain.body.len() / 2, "{path}: {} bytes", gzip.body().len());
        if path != "/metrics" {
            assert!(unzipped(&gzip) == plain.body, "{path}");
        }
    }
    collector.stop().await;
}

#[tokio::test]
async fn weights_and_the_wildcard_decide_whether_a_response_is_compressed() {
    let collector = collector_with_traces("shop").await;
    for (accepted, compressed) in [
        ("gzip;q=0.5, deflate", true),
        ("GZIP", true),
        ("x-gzip", true),
        ("br, zstd", false),
        ("gzip;q=0", false),
        ("gzip;q=0, *", false),
        ("gzip;q=0.2, identity;q=0.8", false),
        ("*", true),
        ("br;q=1.0, *;q=0.1", true),
        ("*;q=0", false),
        ("identity", false),
        ("", false),
    ] {
        let response = collector.get_with("/api/workbench/traces", header::ACCEPT_ENCODING, accepted).await;
        assert_eq!((response.status(), is_gzip(&response)), (StatusCode::OK, compressed), "{accepted:?}");
        assert_eq!(response.headers()[header::VARY], "accept-encoding", "{accepted:?}");
    }
    collector.stop().await;
}

#[tokio::test]
async fn short_responses_are_sent_as_they_are() {
    let collector = Collector::start().await;
    for path in ["/api/services", "/health/live", "/api/nosuch"] {
        let response = collector.get_with(path, header::ACCEPT_ENCODING, "gzip").await;
        assert!(!is_gzip(&response) && !response.headers().contains_key(header::VARY), "{path}");
        assert!(response.headers().contains_key(header::CONTENT_LENGTH), "{path}");
    }
    collector.stop().await;
}

#[tokio::test]
async fn a_streamed_response_is_complete_when_it_is_compressed() {
    // As JSON, the names take six times their length: 11 MB in total.
    let collector = collector_with_traces(&"\u{1}".repeat(64_000)).await;
    let path =
        "/api/v3/traces?query.startTimeMin=1970-01-01T00:00:00Z&query.startTimeMax=1970-01-01T00:01:00Z";
    let plain = collector.get(path).await;
    assert_eq!(plain.length, None, "streamed");
    let gzip = collector.get_with(path, header::ACCEPT_ENCODING, "gzip").await;
    assert!(is_gzip(&gzip) && unzipped(&gzip) == plain.body);
    collector.stop().await;
}
