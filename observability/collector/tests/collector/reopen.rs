//! A collector reopened from the files of another gives the same answers.

use bytes::Bytes;
use collector::{OpenError, Snapshot};
use http::StatusCode;
use serde_json::{Value, json};

use crate::support::{CLIENT, Collector, SERVER, WINDOW_V3, hex, span};

/// Memory limit of the collectors.
const LIMIT: usize = 512 << 10;

/// A collector that has evicted traces and received errors and loss reports.
async fn loaded_collector() -> Collector {
    let collector = Collector::with(LIMIT, None).await;
    for first in (1..=3000_u128).step_by(100) {
        let spans = (first..first + 100).flat_map(|trace| {
            let mut child = span(trace, 2, 1, CLIENT);
            child["endTimeUnixNano"] = json!((1_000_000_000 + trace * 1013).to_string());
            if trace % 700 == 0 {
                child["status"] = json!({ "code": 2, "message": "boom" });
            }
            child["attributes"] = json!([{ "key": "double", "value": { "doubleValue": 0.1 } }]);
            [span(trace, 1, 0, SERVER), child]
        });
        collector.accept("shop", json!(spans.collect::<Vec<_>>())).await;
    }
    collector.report_losses("shop", 1, "queue_full", [2999]).await;
    collector
}

/// Returns the replies of all endpoints that show stored traces, hops or the ledger.
async fn replies(collector: &Collector, stored: &[String]) -> Vec<(String, Value)> {
    let mut replies = Vec::new();
    let paths = [
        "/api/services".to_owned(),
        "/api/operations?service=shop".to_owned(),
        "/api/v3/operations?service=shop".to_owned(),
        "/api/workbench/hops?histograms=true".to_owned(),
        "/api/workbench/hops".to_owned(),
        "/api/workbench/retention".to_owned(),
        "/api/traces?service=shop&start=0&end=60000000&limit=5000".to_owned(),
        "/api/traces?service=shop&start=0&end=60000000&tag=error:true&tag=double:0.1".to_owned(),
        "/api/traces?service=shop&start=0&end=60000000&minDuration=3ms&limit=7".to_owned(),
        format!("/api/v3/traces?{WINDOW_V3}&query.serviceName=shop&query.searchDepth=9"),
        format!("/api/v3/trace-summaries?{WINDOW_V3}&query.serviceName=shop&query.searchDepth=5000"),
        "/api/dependencies?endTs=60000&lookback=60000".to_owned(),
    ];
    let each = stored.iter().flat_map(|id| [format!("/api/traces/{id}"), format!("/api/v3/traces/{id}")]);
    for path in paths.into_iter().chain(each) {
        let reply = collector.get(&path).await;
        assert_eq!(reply.status, StatusCode::OK, "{path}");
        replies.push((path, reply.json()));
    }
    let all: Vec<String> = (1..=3001).map(hex).collect();
    let ledger = collector.post("/api/workbench/ledger", &json!({ "traces": all })).await.json();
    assert!(ledger["evicted"].as_u64() > Some(1000) && ledger["missing"] == 1, "{ledger}");
    replies.push(("/api/workbench/ledger".to_owned(), ledger));
    replies
}

/// Downloads the collector's state and traces.
async fn files(collector: &Collector) -> (Bytes, Bytes) {
    let (state, traces) =
        (collector.get("/api/workbench/state").await, collector.get("/api/workbench/traces").await);
    assert_eq!(traces.content_type, "application/x-ndjson");
    (state.body, traces.body)
}

#[tokio::test]
async fn a_reopened_collector_gives_the_same_answers() {
    let collector = loaded_collector().await;
    let (state, traces) = files(&collector).await;
    let stored: Vec<String> = traces
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
        .map(|line| serde_json::from_slice::<Value>(line).unwrap())
        .map(|line| {
            line["resourceSpans"][0]["scopeSpans"][0]["spans"][0]["traceId"].as_str().unwrap().to_owned()
        })
        .collect();
    assert!(stored.len() > 300, "{}", stored.len());
    let before = replies(&collector, &stored[..300]).await;
    collector.stop().await;

    let opened = Snapshot::read(&state, traces.as_ref(), LIMIT).unwrap();
    assert_eq!(opened.traces(), stored.len());
    let opened = Collector::show(opened).await;
    for ((path, before), (_, after)) in before.iter().zip(replies(&opened, &stored[..300]).await) {
        assert_eq!(before, &after, "{path}");
    }
    assert_eq!(files(&opened).await, (state, traces), "the files of the reopened collector are the same");
    opened.stop().await;
}

#[tokio::test]
async fn rejects_damaged_and_foreign_files() {
    let collector = loaded_collector().await;
    let (state, traces) = files(&collector).await;
    collector.stop().await;
    let open =
        |state: &[u8], traces: &[u8]| Snapshot::read(state, traces, LIMIT).map(|opened| opened.traces());
    assert!(open(&state, &traces).is_ok());
    assert!(matches!(open(&state[..state.len() - 1], &traces), Err(OpenError::Json(_))));
    assert!(matches!(open(b"{}", &traces), Err(OpenError::Json(_))));
    assert!(matches!(open(br#"{"schema":3}"#, &traces), Err(OpenError::Schema(3))));
    assert!(matches!(open(&state, &traces[..traces.len() - 2]), Err(OpenError::Line { .. })));
    assert!(matches!(open(&state, b"{\"data\":[]}\n7"), Err(OpenError::Line { number: 2, .. })));
    let text = String::from_utf8(state.to_vec()).unwrap();
    let histogram = text.find("\"histogram\":\"").unwrap() + 40;
    let mut damaged = text.clone().into_bytes();
    damaged[histogram] = if damaged[histogram] == b'A' { b'B' } else { b'A' };
    assert!(matches!(open(&damaged, &traces), Err(OpenError::Damaged(_))));
    let with_mark = [b"\xef\xbb\xbf", &*traces].concat();
    assert!(open(&state, &with_mark).is_ok(), "a byte-order mark");
    // Sizes in the files are not trusted.
    let mut large: Value = serde_json::from_str(&text).unwrap();
    large["max_bytes"] = json!(1_u64 << 60);
    let error = open(large.to_string().as_bytes(), &traces).unwrap_err();
    assert!(matches!(error, OpenError::Limit { max_bytes: 0x1000_0000_0000_0000, limit: LIMIT }), "{error}");
    let repeated = (0..20).map(|number| {
        let text = String::from_utf8(traces.to_vec()).unwrap();
        text.replace("\"traceId\":\"0000", &format!("\"traceId\":\"{:04x}", number + 1))
    });
    let many = repeated.collect::<String>().into_bytes();
    assert!(matches!(open(&state, &many), Err(OpenError::Full)), "more traces than the limit");
    let mut small: Value = serde_json::from_str(&text).unwrap();
    small["max_bytes"] = json!(200_000);
    assert!(matches!(open(small.to_string().as_bytes(), &traces), Err(OpenError::Full)));
}
