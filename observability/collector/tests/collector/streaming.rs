//! Responses longer than the buffer are streamed.

use http::StatusCode;
use serde_json::{Value, json};

use crate::support::{Collector, Reply, SERVER, WINDOW_V3, hex, span};

const TRACES: u128 = 30;

/// A collector whose traces are long as JSON only: a service name of 64,000 control characters takes six times that.
async fn collector_with_long_names() -> Collector {
    let collector = Collector::start().await;
    for (id, service) in [(1, "shop".to_owned()), (2, "\u{1}".repeat(64_000))] {
        let spans: Vec<Value> = (1..=TRACES).map(|trace| span(trace, id, id - 1, SERVER)).collect();
        collector.accept(&service, json!(spans)).await;
    }
    collector
}

fn lines(reply: &Reply) -> usize {
    reply.body.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).count()
}

#[tokio::test]
async fn long_responses_are_streamed_and_short_ones_have_a_content_length() {
    let collector = collector_with_long_names().await;
    let by_id = |count| {
        let ids = (1..=count).map(|id| format!("traceID={}", hex(id)));
        format!("/api/traces?{}", ids.collect::<Vec<_>>().join("&"))
    };
    let v1 = "/api/traces?service=shop&start=0&end=60000000";
    for (long, short, list, of_each) in [
        (format!("{v1}&limit=10000"), format!("{v1}&limit=3"), "/data", 1),
        (format!("{v1}&prettyPrint=1"), format!("{v1}&prettyPrint=1&limit=3"), "/data", 1),
        (by_id(TRACES), by_id(3), "/data", 1),
        (
            format!("/api/v3/traces?{WINDOW_V3}"),
            format!("/api/v3/traces?{WINDOW_V3}&query.searchDepth=3"),
            "/result/resourceSpans",
            2,
        ),
        (
            format!("/api/v3/trace-summaries?{WINDOW_V3}"),
            format!("/api/v3/trace-summaries?{WINDOW_V3}&query.searchDepth=3"),
            "/summaries",
            1,
        ),
    ] {
        for (path, traces, is_long) in [(long, TRACES as usize, true), (short, 3, false)] {
            let reply = collector.get(&path).await;
            assert_eq!((reply.status, &*reply.content_type), (StatusCode::OK, "application/json"), "{path}");
            assert_eq!(reply.length, (!is_long).then_some(reply.body.len()), "{path}");
            let listed = reply.json().pointer(list).unwrap().as_array().unwrap().len();
            assert_eq!(listed, traces * of_each, "{path}");
        }
    }
    collector.stop().await;
}

#[tokio::test]
async fn long_exports_are_streamed() {
    let collector = collector_with_long_names().await;
    let request = |count| json!({ "traces": (1..=count).map(hex).collect::<Vec<_>>() });
    let path = "/api/workbench/traces";
    let exported = collector.get(path).await;
    assert_eq!(
        (exported.length, lines(&exported), &*exported.content_type),
        (None, 30, "application/x-ndjson")
    );
    let all = collector.post(path, &request(TRACES)).await;
    assert!(all.length.is_none() && all.body == exported.body);
    let few = collector.post(path, &request(3)).await;
    assert_eq!((few.length, lines(&few)), (Some(few.body.len()), 3));
    collector.stop().await;
}
