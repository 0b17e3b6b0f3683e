//! Trace groups: the spans of traces whose ids begin alike are counted apart from all others.

use http::StatusCode;
use serde_json::{Value, json};

use crate::support::{CLIENT, Collector, SERVER, span};

const OURS: &str = "00000000000000a1";

/// A trace id of the group with this number.
fn id(group: u128, trace: u128) -> u128 {
    group << 64 | trace
}

async fn count(collector: &Collector, query: &str) -> Vec<u64> {
    let hops: Value = collector.get(&format!("/api/workbench/hops{query}")).await.json();
    hops["hops"].as_array().unwrap().iter().map(|hop| hop["count"].as_u64().unwrap()).collect()
}

#[tokio::test]
async fn a_group_has_only_the_spans_since_its_registration() {
    let collector = Collector::start().await;
    let send = async |group, trace| {
        let mut spans = [span(id(group, trace), 1, 0, CLIENT), span(id(group, trace), 2, 1, SERVER)];
        spans.iter_mut().for_each(|span| span["name"] = json!("GET /"));
        collector.accept("shop", json!(spans)).await;
    };
    send(0xa1, 1).await;
    let ours = format!("?group={OURS}&histograms=true");
    assert_eq!(collector.get(&format!("/api/workbench/hops{ours}")).await.status, StatusCode::NOT_FOUND);
    let registered = collector.post("/api/workbench/groups", &json!({ "groups": [OURS] })).await;
    assert_eq!(registered.status, StatusCode::NO_CONTENT);
    assert_eq!(count(&collector, &ours).await, [0; 0]);
    for trace in 2..5 {
        send(0xa1, trace).await;
        send(0xb2, trace).await;
    }
    assert_eq!(count(&collector, &ours).await, [3, 3]);
    assert_eq!(count(&collector, "").await, [7, 7]);
    collector.stop().await;
}

#[tokio::test]
async fn rejects_invalid_groups() {
    let collector = Collector::start().await;
    let many: Vec<String> = (1..=9).map(|group| format!("{group:016x}")).collect();
    for body in
        [json!({ "groups": ["zz"] }), json!({ "groups": ["0"] }), json!({ "groups": many }), json!({})]
    {
        let reply = collector.post("/api/workbench/groups", &body).await;
        assert_eq!(reply.status, StatusCode::BAD_REQUEST, "{body}");
        assert!(reply.json()["error"].is_string(), "{body}");
    }
    for group in ["zz", "0", "00000000000000a10"] {
        let reply = collector.get(&format!("/api/workbench/hops?group={group}")).await;
        assert_eq!(reply.status, StatusCode::BAD_REQUEST, "{group}");
    }
    collector.stop().await;
}
