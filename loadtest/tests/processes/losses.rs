//! Traces get lost in three ways on purpose; the ledger names each loss in its row, and the requests go on.

use std::net::TcpListener;
use std::process::{Child, Stdio};

use crate::harness::{Stack, eventually, send_signal, workbench};
use nix::sys::signal::Signal;
use serde_json::Value;

/// A load run in a process of its own.
struct Load {
    child: Child,
    _out: tempfile::TempDir,
}

impl Load {
    fn start(stack: &Stack, collector: &str, otlp: &str) -> Self {
        let out = tempfile::tempdir().unwrap();
        let child = workbench()
            .args(["load", "--rate", "40", "--duration", "8s", "--seed", "3", "--json"])
            .args(["--target", &stack.addresses.balancer, "--collector", collector, "--otlp", otlp])
            .arg("--out")
            .arg(out.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        Self { child, _out: out }
    }

    /// The run, of which every reply was right whatever happened to its traces.
    fn finish(self) -> Value {
        let output = self.child.wait_with_output().unwrap();
        let run: Value = serde_json::from_slice(&output.stdout).expect("run.json");
        for request in run["requests"].as_array().unwrap() {
            assert_eq!((&request["wrong"], &request["failed"]), (&0.into(), &0.into()), "{request}");
        }
        let ledger = &run["ledger"];
        let rows = ["complete", "sampled_out", "dropped_by_exporter", "evicted", "orphaned", "missing"];
        let sum: u64 = rows.iter().map(|row| ledger[row].as_u64().unwrap()).sum();
        assert_eq!(Some(sum), ledger["expected"].as_u64(), "the rows sum to what was expected: {ledger}");
        run
    }
}

/// A collector of the test's own, which can be stopped and started.
struct Collector {
    child: Child,
    query: String,
    grpc: String,
    http: String,
}

impl Collector {
    fn start() -> Self {
        let free = || TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
        Self::start_at(free(), free(), free())
    }

    fn start_at(query: String, grpc: String, http: String) -> Self {
        let child = workbench()
            .args(["serve", "collector"])
            .env("LISTEN", &query)
            .env("OTLP_GRPC_LISTEN", &grpc)
            .env("OTLP_HTTP_LISTEN", &http)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let collector = Self { child, query, grpc, http };
        eventually("the collector is ready", || {
            reqwest_ok(&format!("http://{}/health/ready", collector.query)).is_some()
        });
        collector
    }

    fn kill(mut self) -> (String, String, String) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        let own = std::mem::take(&mut self.query);
        (own, std::mem::take(&mut self.grpc), std::mem::take(&mut self.http))
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Whether the collector has traces of the load and of what comes last in them.
fn load_has_arrived(collector: &str) -> bool {
    let services = reqwest_ok(&format!("{collector}/api/services")).unwrap_or_default();
    ["loadtest", "notification_service"].iter().all(|name| services.contains(&format!("\"{name}\"")))
}

/// The body of a 200.
fn reqwest_ok(url: &str) -> Option<String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let reply = reqwest::get(url).await.ok()?.error_for_status().ok()?;
        reply.text().await.ok()
    })
}

#[test]
fn a_store_too_small_for_the_run_evicts_and_says_so() {
    let stack = Stack::start_with(|command| {
        command.env("STORE_MAX_BYTES", "300000");
    });
    let run = Load::start(&stack, &stack.addresses.collector, &stack.addresses.otlp_grpc).finish();
    assert!(run["ledger"]["evicted"].as_u64() > Some(0), "{}", run["ledger"]);
}

#[test]
fn a_collector_killed_and_restarted_loses_what_it_held() {
    let collector = Collector::start();
    let (query, grpc) = (format!("http://{}", collector.query), format!("http://{}", collector.grpc));
    let stack = Stack::start_with(|command| {
        command.args(["--export-to", &grpc]);
    });
    let load = Load::start(&stack, &query, &grpc);
    eventually("a booking's trace has reached the collector", || load_has_arrived(&query));
    let (own, grpc, http) = collector.kill();
    let _collector = Collector::start_at(own, grpc, http);
    let run = load.finish();
    let ledger = &run["ledger"];
    assert!(ledger["missing"].as_u64() > Some(0), "what the first collector held is missing: {ledger}");
    assert!(ledger["complete"].as_u64() > Some(0), "what came later is complete: {ledger}");
}

#[test]
fn an_exporter_whose_queue_overflows_reports_the_traces_it_robbed() {
    let stack = Stack::start_with(|command| {
        command.env("OTEL_BSP_MAX_QUEUE_SIZE", "20").env("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "10");
    });
    let load = Load::start(&stack, &stack.addresses.collector, &stack.addresses.otlp_grpc);
    let dropped = || {
        let metrics = reqwest_ok(&format!("{}/metrics", stack.addresses.balancer)).unwrap_or_default();
        let line = metrics.lines().find(|line| {
            line.starts_with("otel_sdk_processor_span_processed_total") && line.contains("queue_full")
        });
        line.and_then(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).unwrap_or_default()
    };
    eventually("the load is under way", || load_has_arrived(&stack.addresses.collector));
    // Stopped, not killed: its peers wait for it, and their queues fill.
    let collector = stack.addresses.processes["collector"].pid;
    send_signal(collector, Signal::SIGSTOP);
    eventually("the balancer dropped spans", || dropped() > 0);
    send_signal(collector, Signal::SIGCONT);
    let run = load.finish();
    assert!(run["ledger"]["dropped_by_exporter"].as_u64() > Some(0), "{}", run["ledger"]);
}

#[test]
fn a_service_whose_spans_go_elsewhere_leaves_orphans() {
    let (stack, elsewhere) = (Stack::start(), Collector::start());
    // The load generator's own: the root of every trace.
    let load = Load::start(&stack, &stack.addresses.collector, &format!("http://{}", elsewhere.grpc));
    let ledger = load.finish()["ledger"].clone();
    assert_eq!(ledger["orphaned"], ledger["expected"], "{ledger}");
    assert!(ledger["examples"][0]["why"].as_str().unwrap().contains("never came"), "{ledger}");
}
