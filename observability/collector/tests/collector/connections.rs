//! The bound on connections to each port.

use std::time::Duration;

use serde_json::json;
use tokio::net::TcpStream;

use crate::support::{Collector, SERVER, settings, span};

#[tokio::test]
async fn connections_to_the_receivers_leave_the_query_port_reachable() {
    let collector = Collector::run(collector::Settings { max_connections: 4, ..settings() }).await;
    let mut silent = Vec::new();
    for address in [collector.grpc, collector.http] {
        for _ in 0..20 {
            silent.push(TcpStream::connect(address).await.unwrap());
        }
    }
    // Counted by the process, so that other tests may add to it.
    let limits_reached = async {
        while collector.metric(r#"connection_problems_total{reason="limit_reached"}"#).await < 2 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), limits_reached).await.expect("both ports are full");
    assert_eq!(collector.get("/api/services").await.json()["data"], json!([]));
    drop(silent);
    collector.accept("web", json!([span(1, 1, 0, SERVER)])).await;
    assert_eq!(collector.get("/api/services").await.json()["data"], json!(["web"]));
    collector.stop().await;
}
