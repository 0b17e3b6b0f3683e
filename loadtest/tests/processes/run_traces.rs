//! The traces of a load run: Jaeger's API agrees with `run.json`, and a reopened run gives the same answers.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::harness::{Collector, Finished, Load, Stack, get_json, http, run, workbench};

/// Every edge of the dependency graph, as (caller, callee). Booking reaches the notification service through the queue.
const EDGES: [(&str, &str); 14] = [
    ("api_gateway", "api_gateway"),
    ("api_gateway", "booking_service"),
    ("api_gateway", "cache"),
    ("api_gateway", "search_service"),
    ("booking_service", "booking_service"),
    ("booking_service", "cache"),
    ("booking_service", "notification_service"),
    ("booking_service", "queue"),
    ("load_balancer", "api_gateway"),
    ("load_balancer", "load_balancer"),
    ("loadtest", "load_balancer"),
    ("notification_service", "notification_service"),
    ("notification_service", "queue"),
    ("search_service", "search_service"),
];

/// A load that uses every role.
fn load(stack: &Stack) -> Load {
    Load::of(stack, &["--rate", "40", "--duration", "6s", "--seed", "11"])
}

/// Number of traces that a search finds.
async fn found(collector: &str, service: &str, condition: &str) -> usize {
    let search = format!("{collector}/api/traces?service={service}&limit=10000&lookback=1h&{condition}");
    get_json(search).await["data"].as_array().unwrap().len()
}

/// Number of requests in the run whose name begins with `prefix`.
fn sent(run: &Value, prefix: &str) -> usize {
    let rows = run["requests"].as_array().unwrap().iter();
    let rows = rows.filter(|row| row["name"].as_str().unwrap().starts_with(prefix));
    rows.map(|row| row["sent"].as_u64().unwrap() as usize).sum()
}

#[tokio::test]
async fn jaeger_api_agrees_with_run_json() {
    let stack = Stack::start();
    let loaded = load(&stack).run();
    let run = loaded.run();
    let collector = &stack.addresses.collector;

    let edges = get_json(format!("{collector}/api/dependencies")).await;
    let edges: BTreeSet<(&str, &str)> = edges["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|edge| (edge["parent"].as_str().unwrap(), edge["child"].as_str().unwrap()))
        .collect();
    assert_eq!(edges, BTreeSet::from(EDGES));

    // One more trace: before the run, a probe checks that the target continues the traces of the generator.
    assert_eq!(found(collector, "loadtest", "").await, sent(&run, "") + 1);
    // Each request that should be refused gets a 401, which is marked and is no error in the span of the generator.
    let refused = sent(&run, "refused");
    assert!(refused > 0);
    let by_status = "tag=http.response.status_code:401";
    assert_eq!(found(collector, "load_balancer", by_status).await, refused);
    let intended = "tag=workbench.intended_refusal:true";
    assert_eq!(found(collector, "loadtest", intended).await, refused);
    let as_json = "tags=%7B%22workbench.intended_refusal%22:%22true%22%7D";
    assert_eq!(found(collector, "loadtest", as_json).await, refused);
    assert_eq!(found(collector, "loadtest", "tag=error:true").await, 0);
    // A miss of the cache is a 404, and no error of the gateway.
    let misses = "operation=GET /get/{key}&tag=http.response.status_code:404";
    assert!(found(collector, "api_gateway", misses).await > 0);
    assert_eq!(found(collector, "api_gateway", &format!("{misses}&tag=error:true")).await, 0);
    // A search by minimum duration finds the slowest request of each hop, and nothing slower. Hops exclude the warm-up,
    // and the only logins after the warm-up are refused ones.
    let hops = run["hops"].as_array().unwrap().iter();
    let hops: Vec<&Value> = hops.filter(|hop| hop["service"] == "loadtest").collect();
    assert!(hops.len() > 2, "{hops:?}");
    for hop in hops {
        let operation = hop["operation"].as_str().unwrap();
        let slowest = hop["latency_us"]["max"].as_f64().unwrap();
        let condition = if operation == "POST /token" { "&tag=workbench.intended_refusal:true" } else { "" };
        let found_from = async |minimum: u64| {
            let condition = format!("operation={operation}{condition}&minDuration={minimum}us");
            found(collector, "loadtest", &condition).await
        };
        assert!(found_from((slowest * 0.998) as u64).await >= 1, "{hop}");
        assert_eq!(found_from(slowest as u64 + 1).await, 0, "{hop}");
    }
    assert!(stack.stop().success());
}

/// Every reply that depends on a stored trace or on a hop, and the ledger of `traces`, of which only the first `stored`
/// are in the store.
async fn replies(collector: &str, traces: &[String], stored: usize) -> Vec<Value> {
    let mut replies = Vec::new();
    for path in [
        "/api/services",
        "/api/operations?service=api_gateway",
        "/api/v3/operations?service=booking_service",
        "/api/workbench/hops?histograms=true",
        "/api/traces?service=booking_service&limit=1000",
        "/api/traces?service=cache&limit=3000&minDuration=50us",
        "/api/dependencies",
    ] {
        replies.push(get_json(format!("{collector}{path}")).await);
    }
    // Every third trace, because the debug build is slow.
    for trace in traces[..stored].iter().step_by(3) {
        replies.push(get_json(format!("{collector}/api/traces/{trace}")).await);
        replies.push(get_json(format!("{collector}/api/v3/traces/{trace}")).await);
    }
    let ledger = http().post(format!("{collector}/api/workbench/ledger"));
    let ledger: Value = ledger.json(&json!({ "traces": traces })).send().await.unwrap().json().await.unwrap();
    assert_eq!(ledger["missing"], traces.len() - stored, "{ledger}");
    replies.push(ledger);
    replies
}

#[tokio::test]
async fn reopened_run_gives_the_same_answers() {
    let stack = Stack::start();
    let loaded = load(&stack).run();
    let bundle = loaded.bundle();
    let all = format!("{}/api/traces?service=loadtest&limit=10000", stack.addresses.collector);
    let mut traces: Vec<String> = get_json(all).await["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|trace| format!("{:0>32}", trace["traceID"].as_str().unwrap()))
        .collect();
    assert!(traces.len() >= 240, "{}", traces.len());
    let stored = traces.len();
    let never_sent = format!("{:032x}", 77);
    traces.push(never_sent);
    let before = replies(&stack.addresses.collector, &traces, stored).await;
    assert!(stack.stop().success());
    let reopened = Collector::start_with(|serve| {
        serve.arg("--open").arg(&bundle);
    });
    let after = replies(&reopened.query, &traces, stored).await;
    for (number, (before, after)) in before.iter().zip(&after).enumerate() {
        assert_eq!(before, after, "reply {number}");
    }
    assert_eq!(before.len(), after.len());

    let file = bundle.join("traces.jsonl.zst");
    let lines = String::from_utf8(zstd::decode_all(&fs::read(&file).unwrap()[..]).unwrap()).unwrap();
    let all_but_one = lines.split_once('\n').unwrap().1;
    fs::write(&file, zstd::encode_all(all_but_one.as_bytes(), 3).unwrap()).unwrap();
    open(&bundle).failed(2, "traces.jsonl.zst does not belong to this run");
}

/// Tries to open a folder that is not a run.
fn open(folder: &Path) -> Finished {
    run(workbench().args(["serve", "collector", "--open"]).arg(folder).env("LISTEN", "127.0.0.1:0"))
}

#[test]
fn rejects_a_folder_that_is_not_a_run() {
    let folder = tempfile::tempdir().unwrap();
    open(folder.path()).failed(2, "collector.json.zst");
    let write = |name: &str, bytes: &[u8]| fs::write(folder.path().join(name), bytes).unwrap();
    write("collector.json.zst", b"{}");
    write("traces.jsonl.zst", b"");
    open(folder.path()).failed(2, "truncated or damaged");
    let packed = zstd::encode_all(&b"{}"[..], 3).unwrap();
    write("collector.json.zst", &packed[..packed.len() - 1]);
    open(folder.path()).failed(2, "truncated or damaged");
    write("collector.json.zst", &packed);
    open(folder.path()).failed(2, "was not written by a run");
    let state = json!({ "traces": { "bytes": 0, "crc32": 0 }, "collector": {} }).to_string();
    write("collector.json.zst", &zstd::encode_all(state.as_bytes(), 3).unwrap());
    open(folder.path()).failed(2, "not the state of a collector");
}
