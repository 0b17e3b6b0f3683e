//! Snapshots of the API's main replies. `cargo insta review` accepts changes.

use insta::{assert_json_snapshot, assert_snapshot};
use serde_json::{Value, json};

use crate::support::{CLIENT, Collector, Reply, SERVER, WINDOW_V3, hex, span};

/// A collector with a failed call from `web` to `store` in trace 7, and a loss report about trace 8.
async fn collector_with_a_trace() -> Collector {
    let collector = Collector::start().await;
    let mut call = span(7, 2, 1, CLIENT);
    call["attributes"] = json!([{ "key": "http.response.status_code", "value": { "intValue": "503" } }]);
    call["status"] = json!({ "code": 2, "message": "unavailable" });
    call["events"] = json!([{ "name": "retry", "timeUnixNano": "1001000000" }]);
    collector.accept("web", json!([span(7, 1, 0, SERVER), call])).await;
    collector.accept("store", json!([span(7, 3, 2, SERVER)])).await;
    collector.report_losses("web", 5, "queue_full", [8]).await;
    collector
}

fn snapshot(reply: &Reply) -> Value {
    json!({ "status": reply.status.as_u16(), "content-type": reply.content_type, "body": reply.json() })
}

#[tokio::test]
async fn jaeger_version_1() {
    let collector = collector_with_a_trace().await;
    for (name, path) in [
        ("v1_services", "/api/services".to_owned()),
        ("v1_operation_names", "/api/services/web/operations".to_owned()),
        ("v1_operations", "/api/operations?service=web".to_owned()),
        ("v1_traces", "/api/traces?service=store&start=0&end=60000000".to_owned()),
        ("v1_traces_by_id", format!("/api/traces?traceID={}&traceID=99", hex(7))),
        ("v1_dependencies", "/api/dependencies?endTs=60000&lookback=60000".to_owned()),
        ("v1_error_400", "/api/traces?service=store&minDuration=20".to_owned()),
        ("v1_error_404", "/api/traces/99".to_owned()),
    ] {
        assert_json_snapshot!(name, snapshot(&collector.get(&path).await));
    }
    collector.stop().await;
}

#[tokio::test]
async fn jaeger_version_3() {
    let collector = collector_with_a_trace().await;
    for (name, path) in [
        ("v3_services", "/api/v3/services".to_owned()),
        ("v3_operations", "/api/v3/operations?service=web".to_owned()),
        ("v3_trace", format!("/api/v3/traces/{}", hex(7))),
        ("v3_traces", format!("/api/v3/traces?query.serviceName=store&{WINDOW_V3}")),
        ("v3_trace_summaries", format!("/api/v3/trace-summaries?query.serviceName=web&{WINDOW_V3}")),
        ("v3_error_400", "/api/v3/traces?query.serviceName=store".to_owned()),
        ("v3_error_404", "/api/v3/traces/99".to_owned()),
    ] {
        assert_json_snapshot!(name, snapshot(&collector.get(&path).await));
    }
    collector.stop().await;
}

#[tokio::test]
async fn workbench() {
    let collector = collector_with_a_trace().await;
    for (name, path) in
        [("workbench_hops", "/api/workbench/hops"), ("workbench_traces", "/api/workbench/traces")]
    {
        assert_json_snapshot!(name, snapshot(&collector.get(path).await));
    }
    let mut retention = snapshot(&collector.get("/api/workbench/retention").await);
    // The size of a stored trace depends on the compiler.
    retention["body"]["classes"]["error"]["bytes"] = json!("[bytes]");
    assert_json_snapshot!("workbench_retention", retention);
    for (name, path, ids) in [
        ("workbench_ledger", "/api/workbench/ledger", json!([hex(7), hex(8), hex(9)])),
        ("workbench_error_400", "/api/workbench/traces", json!(vec![hex(7); 501])),
    ] {
        assert_json_snapshot!(name, snapshot(&collector.post(path, &json!({ "traces": ids })).await));
    }
    collector.stop().await;
}

/// The metrics of the process are left out, as their values vary. So does the size of the store.
#[tokio::test]
async fn metrics() {
    let collector = collector_with_a_trace().await;
    let page = collector.get("/metrics").await;
    let text = std::str::from_utf8(&page.body).unwrap();
    let lines = text.lines().filter(|line| {
        line.trim_start_matches("# HELP ").trim_start_matches("# TYPE ").starts_with("collector_")
    });
    let fixed = lines.map(|line| match line.strip_prefix("collector_store_bytes ") {
        Some(_) => "collector_store_bytes [bytes]",
        None => line,
    });
    assert_snapshot!("metrics", fixed.collect::<Vec<_>>().join("\n"));
    collector.stop().await;
}
