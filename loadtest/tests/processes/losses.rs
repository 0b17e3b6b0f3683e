//! Traces lost on purpose, in each way that the ledger names: the loss appears in its row, and every reply is right.

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::harness::{Collector, Load, Stack, eventually, get_blocking};

/// Runs a load to its end while `meanwhile` runs, and returns `run.json`.
fn run_json(load: Load, meanwhile: impl FnOnce()) -> Value {
    let load = load.start();
    meanwhile();
    let finished = load.finish();
    let run: Value = serde_json::from_slice(finished.finished.stdout())
        .unwrap_or_else(|error| panic!("no run.json ({error}): {}", finished.text()));
    for request in run["requests"].as_array().unwrap() {
        assert_eq!((&request["wrong"], &request["failed"]), (&0.into(), &0.into()), "{request}");
    }
    let ledger = &run["ledger"];
    let rows = ["complete", "sampled_out", "dropped_by_exporter", "evicted", "orphaned", "missing"];
    let sum: u64 = rows.iter().map(|row| ledger[row].as_u64().unwrap()).sum();
    assert_eq!(Some(sum), ledger["expected"].as_u64(), "the rows sum to the expected traces: {ledger}");
    run
}

fn load(stack: &Stack, collector: &str, otlp: &str) -> Load {
    let arguments = ["--rate", "40", "--duration", "8s", "--seed", "3", "--json"];
    Load::with_collector(stack, collector, otlp, &arguments)
}

/// Whether the collector has spans of the first and of the last service of a booking's trace.
fn has_bookings(collector: &str) -> bool {
    let services = get_blocking(&format!("{collector}/api/services")).unwrap_or_default();
    ["loadtest", "notification_service"].iter().all(|name| services.contains(&format!("\"{name}\"")))
}

#[test]
fn full_store_is_reported_as_evicted() {
    let stack = Stack::start_with(|up| {
        up.env("COLLECTOR_STORE_MAX_BYTES", "300000");
    });
    let load = load(&stack, &stack.addresses.collector, &stack.addresses.otlp_grpc);
    let run = run_json(load, || {});
    assert!(run["ledger"]["evicted"].as_u64() > Some(0), "{}", run["ledger"]);
}

#[test]
fn restarted_collector_is_reported_as_missing() {
    let mut collector = Some(Collector::start());
    let (query, otlp) = collector.as_ref().map(|it| (it.query.clone(), it.otlp_grpc.clone())).unwrap();
    let stack = Stack::start_with(|up| {
        up.args(["--export-to", &otlp]);
    });
    let run = run_json(load(&stack, &query, &otlp), || {
        eventually("a booking's trace has reached the collector", || has_bookings(&query));
        collector = collector.take().map(Collector::kill_and_restart);
    });
    let ledger = &run["ledger"];
    assert!(ledger["missing"].as_u64() > Some(0), "traces of the killed collector are missing: {ledger}");
    assert!(ledger["complete"].as_u64() > Some(0), "later traces are complete: {ledger}");
}

#[test]
fn full_export_queue_is_reported_as_dropped_by_exporter() {
    let stack = Stack::start_with(|up| {
        up.env("OTEL_BSP_MAX_QUEUE_SIZE", "20").env("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "10");
    });
    let dropped = || {
        let metrics = get_blocking(&format!("{}/metrics", stack.addresses.balancer)).unwrap_or_default();
        let line = metrics.lines().find(|line| {
            line.starts_with("otel_sdk_processor_span_processed_total") && line.contains("queue_full")
        });
        line.and_then(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).unwrap_or_default()
    };
    let load = load(&stack, &stack.addresses.collector, &stack.addresses.otlp_grpc);
    let run = run_json(load, || {
        eventually("the load is under way", || has_bookings(&stack.addresses.collector));
        // A stopped collector keeps its connections open, so the export queues of its clients fill up.
        stack.signal("collector", Signal::SIGSTOP);
        eventually("the balancer dropped spans", || dropped() > 0);
        stack.signal("collector", Signal::SIGCONT);
    });
    assert!(run["ledger"]["dropped_by_exporter"].as_u64() > Some(0), "{}", run["ledger"]);
}

#[test]
fn root_spans_sent_elsewhere_are_reported_as_orphaned() {
    let (stack, elsewhere) = (Stack::start(), Collector::start());
    // The load generator's span is the root of every trace.
    let run = run_json(load(&stack, &stack.addresses.collector, &elsewhere.otlp_grpc), || {});
    let ledger = &run["ledger"];
    assert_eq!(ledger["orphaned"], ledger["expected"], "{ledger}");
    assert!(ledger["examples"][0]["why"].as_str().unwrap().contains("is missing"), "{ledger}");
}
