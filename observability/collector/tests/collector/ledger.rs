//! Every row of the ledger; the rows sum to the number of traces in the request.

use http::StatusCode;
use serde_json::{Value, json};

use crate::support::{CLIENT, CONSUMER, Collector, PRODUCER, SERVER, hex, span};

async fn ledger(collector: &Collector, traces: impl IntoIterator<Item = u128>) -> Value {
    let traces: Vec<String> = traces.into_iter().map(hex).collect();
    let reply = collector.post("/api/workbench/ledger", &json!({ "traces": traces })).await;
    assert_eq!(reply.status, StatusCode::OK);
    let ledger = reply.json();
    let row = |name: &str| ledger[name].as_u64().unwrap_or_else(|| panic!("{name} in {ledger}"));
    let rows = ["complete", "dropped_by_exporter", "evicted", "orphaned", "missing"].map(row);
    assert_eq!(rows.iter().sum::<u64>(), row("expected"), "{ledger}");
    assert_eq!(row("expected"), traces.len() as u64);
    ledger
}

/// A client span whose attribute names the server span that answered it.
fn call(trace: u128, id: u64, parent: u64, answered_by: u64) -> Value {
    let mut call = span(trace, id, parent, CLIENT);
    let peer = json!({ "stringValue": format!("{answered_by:016x}") });
    call["attributes"] = json!([{ "key": telemetry::contract::PEER_SPAN_ID, "value": peer }]);
    call
}

/// The spans of a call that publishes a message, one of each process.
fn booking(trace: u128) -> [Value; 4] {
    [
        call(trace, 1, 0, 2),
        span(trace, 2, 1, SERVER),
        span(trace, 3, 2, PRODUCER),
        span(trace, 4, 3, CONSUMER),
    ]
}

#[tokio::test]
async fn every_kind_of_loss_has_its_own_row() {
    let collector = Collector::start().await;
    // Trace 1 is complete; 2 lacks its root, 3 its server, 4 its consumer, and 5 all spans. The exporter reports
    // losses in 6 (its root is missing), 7 (nothing was received) and 8 (it looks complete).
    let mut spans: Vec<Value> = booking(1).into();
    spans.extend(booking(2).into_iter().skip(1));
    spans.extend(booking(3).into_iter().take(1));
    spans.extend(booking(4).into_iter().take(3));
    spans.extend(booking(6).into_iter().skip(1));
    spans.extend(booking(8));
    collector.accept("shop", json!(spans)).await;
    collector.report_losses("shop", 5, "queue_full", [6, 7, 8]).await;

    let ledger = ledger(&collector, 1..=8).await;
    assert_eq!(ledger["complete"], 1, "{ledger}");
    assert_eq!(ledger["orphaned"], 1, "{ledger}");
    assert_eq!(ledger["missing"], 3, "{ledger}");
    assert_eq!(ledger["dropped_by_exporter"], 3, "including trace 7: {ledger}");
    assert_eq!(ledger["examples"].as_array().map(Vec::len), Some(7));
    let why = |trace| {
        let example = ledger["examples"].as_array().unwrap().iter().find(|e| e["trace_id"] == hex(trace));
        example.unwrap()["why"].as_str().unwrap().to_owned()
    };
    assert!(why(3).contains("span 0000000000000002, which answered"), "{}", why(3));
    assert!(why(4).contains("operation 3"), "{}", why(4));
    let dropped = r#"collector_exporter_dropped_spans_total{service="shop",reason="queue_full"}"#;
    assert_eq!(collector.metric(dropped).await, 5);
    assert_eq!(
        collector.get("/api/traces/99").await.status,
        StatusCode::NOT_FOUND,
        "a loss report is not stored as a trace"
    );
    collector.stop().await;
}

#[tokio::test]
async fn late_spans_complete_a_trace() {
    let collector = Collector::start().await;
    let [root, server, producer, consumer] = booking(1);
    collector.accept("shop", json!([producer, server])).await;
    assert_eq!(ledger(&collector, [1]).await["orphaned"], 1);
    collector.accept("shop", json!([root])).await;
    assert_eq!(ledger(&collector, [1]).await["missing"], 1);
    collector.accept("mail", json!([consumer])).await;
    assert_eq!(ledger(&collector, [1]).await["complete"], 1);
    collector.stop().await;
}

#[tokio::test]
async fn a_full_store_evicts_whole_traces_and_reports_them_as_evicted() {
    let max_bytes = 256 << 10;
    let collector = Collector::with(max_bytes, None).await;
    for first in (1..=2000).step_by(100) {
        let batch: Vec<Value> = (first..first + 100).flat_map(booking).collect();
        collector.accept("shop", json!(batch)).await;
    }
    let all = ledger(&collector, 1..=2000).await;
    let (complete, evicted) = (all["complete"].as_u64().unwrap(), all["evicted"].as_u64().unwrap());
    assert_eq!(complete + evicted, 2000, "{all}");
    assert!(complete > 100, "{all}");
    assert_eq!(ledger(&collector, 1981..=2000).await["complete"], 20, "the most recent traces are stored");
    let by_reason = all["evicted_by_reason"].as_object().unwrap();
    assert_eq!(by_reason.values().map(|count| count.as_u64().unwrap()).sum::<u64>(), evicted, "{all}");
    assert_eq!(collector.metric("collector_store_traces").await, complete);
    for (reason, count) in by_reason {
        let metric = format!("collector_evicted_traces_total{{reason=\"{reason}\"}}");
        assert_eq!(collector.metric(&metric).await, count.as_u64().unwrap(), "{reason}");
    }
    assert_eq!(collector.metric("collector_evicted_spans_total").await, evicted * 4);
    assert!(collector.metric("collector_store_bytes").await <= max_bytes as u64);

    let mut evicted = 1;
    while ledger(&collector, [evicted]).await["evicted"] == 0 {
        evicted += 1;
    }
    collector.accept("mail", json!([span(evicted, 9, 3, CONSUMER)])).await;
    assert_eq!(
        ledger(&collector, [evicted]).await["evicted"],
        1,
        "a late span does not restore an evicted trace"
    );
    assert_eq!(collector.metric("collector_late_spans_total").await, 1);
    assert_eq!(
        collector.get("/api/workbench/hops").await.json()["hops"][0]["count"],
        1,
        "the late span is in the latencies"
    );
    collector.stop().await;
}

#[tokio::test]
async fn an_evicted_trace_is_judged_when_it_leaves_the_store() {
    let collector = Collector::with(256 << 10, None).await;
    for first in (1..=2000).step_by(100) {
        // Of every fifth trace, the server's span is missing.
        let spans = |trace: u128| {
            let spans: Vec<Value> = booking(trace).into();
            if trace.is_multiple_of(5) { spans[..1].to_vec() } else { spans }
        };
        let batch: Vec<Value> = (first..first + 100).flat_map(spans).collect();
        collector.accept("shop", json!(batch)).await;
    }
    let (incomplete, complete): (Vec<u128>, Vec<u128>) =
        (1..=2000).partition(|trace: &u128| trace.is_multiple_of(5));
    let complete = ledger(&collector, complete).await;
    let incomplete = ledger(&collector, incomplete).await;
    assert!(complete["complete_then_evicted"].as_u64() > Some(500), "{complete}");
    assert_eq!(complete["evicted"], complete["complete_then_evicted"]);
    assert_eq!(complete["examples"][0]["row"], "complete_then_evicted");
    assert!(incomplete["incomplete_then_evicted"].as_u64() > Some(100), "{incomplete}");
    assert_eq!(incomplete["evicted"], incomplete["incomplete_then_evicted"]);
    let metric = collector.metric("collector_evicted_incomplete_traces_total").await;
    assert_eq!(json!(metric), incomplete["incomplete_then_evicted"]);

    // A span that arrives after the eviction does not change the judgement.
    let late = complete["examples"][0]["trace_id"].as_str().unwrap();
    let late = u128::from_str_radix(late, 16).unwrap();
    collector.accept("mail", json!([span(late, 9, 99, CONSUMER)])).await;
    assert_eq!(ledger(&collector, [late]).await["complete_then_evicted"], 1);
    collector.stop().await;
}

#[tokio::test]
async fn repeated_ids_are_counted_repeatedly_and_listed_once() {
    let collector = Collector::start().await;
    collector.accept("shop", json!([booking(1), booking(2)].concat())).await;
    collector.accept("shop", json!([span(3, 1, 7, SERVER)])).await;
    let ledger = ledger(&collector, [4, 1, 3, 1, 4, 2, 3, 4]).await;
    assert_eq!(
        (&ledger["complete"], &ledger["orphaned"], &ledger["missing"]),
        (&json!(3), &json!(2), &json!(3))
    );
    let examples: Vec<_> = ledger["examples"].as_array().unwrap().iter().map(|e| &e["trace_id"]).collect();
    assert_eq!(examples, [&hex(4), &hex(3)]);
    collector.stop().await;
}

#[tokio::test]
async fn exports_stored_traces_as_lines_in_the_order_requested() {
    let collector = Collector::start().await;
    collector.accept("shop", json!([booking(1), booking(2)].concat())).await;
    let request = json!({ "traces": [hex(2), hex(3), hex(1), hex(2)] });
    let reply = collector.post("/api/workbench/traces", &request).await;
    assert_eq!(reply.content_type, "application/x-ndjson");
    let text = String::from_utf8(reply.body.to_vec()).unwrap();
    let traces: Vec<_> = text.lines().map(|line| collector::otlp::from_json_line(line).unwrap()).collect();
    let ids: Vec<_> =
        traces.iter().map(|trace| (trace.id().unwrap().to_string(), trace.spans.len())).collect();
    assert_eq!(ids, [(hex(2), 4), (hex(1), 4)]);
    assert_eq!(traces[0].spans[0].service(), "shop");
    collector.stop().await;
}

#[tokio::test]
async fn rejects_invalid_requests() {
    let collector = Collector::start().await;
    let many = |count: u128| json!({ "traces": (1..=count).map(hex).collect::<Vec<_>>() });
    for (path, body) in [
        ("/api/workbench/ledger", many(10_001)),
        ("/api/workbench/traces", many(501)),
        ("/api/workbench/ledger", json!({ "traces": ["zz"] })),
        ("/api/workbench/ledger", json!({ "traces": [hex(0)] })),
        ("/api/workbench/traces", json!({ "traces": 7 })),
        ("/api/workbench/ledger", json!({})),
    ] {
        let reply = collector.post(path, &body).await;
        assert_eq!(reply.status, StatusCode::BAD_REQUEST, "{path}");
        assert!(reply.json()["error"].is_string(), "{path}: {:?}", reply.body);
    }
    assert_eq!(collector.get("/api/workbench/hops?histograms=perhaps").await.status, StatusCode::BAD_REQUEST);
    collector.stop().await;
}
