//! Retention: exemplars, slow traces and a uniform sample stay when most traces are evicted.

use http::StatusCode;
use serde_json::{Value, json};

use crate::support::{Collector, SERVER, hex, span};

/// Sends traces of one span, with durations over four orders of magnitude.
async fn send_spread(collector: &Collector, traces: u128) {
    for first in (1..=traces).step_by(200) {
        let spans = (first..first + 200).map(|trace| {
            let mut span = span(trace, 1, 0, SERVER);
            let duration = 1_000 * (trace * 7919 % 10_007).pow(2) / 1000;
            span["endTimeUnixNano"] = json!((1_000_000_000 + duration).to_string());
            span
        });
        collector.accept("shop", json!(spans.collect::<Vec<_>>())).await;
    }
}

#[tokio::test]
async fn the_exemplars_of_every_percentile_are_stored() {
    let collector = Collector::with(512 << 10, None).await;
    send_spread(&collector, 5000).await;
    let hops = collector.get("/api/workbench/hops").await.json();
    let hop = &hops["hops"][0];
    assert_eq!((&hop["count"], &hop["errors"]), (&json!(5000), &json!(0)));
    let mut found = 0;
    for (percentile, exemplars) in hop["exemplars"].as_object().unwrap() {
        let latency = hop["latency_us"][percentile].as_f64().unwrap();
        let exemplars = exemplars.as_array().unwrap();
        assert!(!exemplars.is_empty(), "{percentile} has none: {hop}");
        for exemplar in exemplars {
            let took = exemplar["duration_us"].as_f64().unwrap();
            assert!((latency / 1.6..latency * 1.6).contains(&took), "{percentile} is {latency}, not {took}");
            let id = exemplar["trace_id"].as_str().unwrap();
            let reply = collector.get(&format!("/api/traces/{id}")).await;
            assert_eq!(reply.status, StatusCode::OK, "{percentile}: {id}");
            found += 1;
        }
    }
    assert!(found >= 6, "{hop}");
    assert!(collector.metric("collector_store_traces").await < 1000, "most traces are evicted");
    collector.stop().await;
}

#[tokio::test]
async fn keeps_the_slowest_traces_after_large_ones_filled_the_store() {
    let collector = Collector::with(2 << 20, None).await;
    let large = |id: u128| {
        let mut large = span(1_000_000 + id, 1, 0, SERVER);
        large["name"] = json!("large");
        large["attributes"] = json!([{ "key": "blob", "value": { "stringValue": "x".repeat(100_000) } }]);
        large
    };
    for id in 1..=60 {
        collector.accept("shop", json!([large(id)])).await;
    }
    // These evict the large traces.
    send_spread(&collector, 20_000).await;
    let count_stored = async |traces: &[u128]| {
        let ids: Vec<String> = traces.iter().map(|trace| hex(*trace)).collect();
        let ledger = collector.post("/api/workbench/ledger", &json!({ "traces": ids })).await.json();
        ledger["complete"].as_u64().unwrap()
    };
    let mut slowest: Vec<u128> = (10_001..=20_000).collect();
    slowest.sort_by_key(|trace| std::cmp::Reverse(trace * 7919 % 10_007));
    assert_eq!(count_stored(&slowest[..40]).await, 40);
    collector.stop().await;
}

#[tokio::test]
async fn retention_classes_sum_to_the_store_and_the_sample_is_uniform() {
    let collector = Collector::with(512 << 10, None).await;
    send_spread(&collector, 5000).await;
    let retention = collector.get("/api/workbench/retention").await.json();
    let classes = retention["classes"].as_object().unwrap();
    let sum = |what: &str| classes.values().map(|class| class[what].as_u64().unwrap()).sum::<u64>();
    assert_eq!(sum("traces"), collector.metric("collector_store_traces").await);
    let sample = retention["sample"]["traces"].as_array().unwrap();
    let share = retention["sample"]["share"].as_f64().unwrap();
    let expected = share * 5000.0;
    assert!((sample.len() as f64 - expected).abs() < 4.0 * expected.sqrt(), "{} of {expected}", sample.len());
    let early = sample.iter().filter(|id| id.as_str().unwrap() <= hex(2500).as_str()).count() as f64;
    assert!(
        (early / sample.len() as f64 - 0.5).abs() < 0.2,
        "{early} of {} are from the first half",
        sample.len()
    );
    let ids: Vec<&Value> = sample.iter().collect();
    let ledger = collector.post("/api/workbench/ledger", &json!({ "traces": ids })).await.json();
    assert_eq!(ledger["complete"], ledger["expected"], "{ledger}");
    collector.stop().await;
}
