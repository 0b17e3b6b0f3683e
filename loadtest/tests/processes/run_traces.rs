//! The traces of a load run, as Jaeger's API tells of them: what the run counted, along the path that there is; and the
//! run opened again, which tells the same.

use std::collections::BTreeSet;
use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};

use crate::harness::{Stack, comes_right, workbench};
use serde_json::{Value, json};

/// Who calls whom: the README's picture, and a message from booking by the queue to the notification service.
const PATH: [(&str, &str); 13] = [
    ("api_gateway", "api_gateway"),
    ("api_gateway", "booking_service"),
    ("api_gateway", "cache"),
    ("api_gateway", "search_service"),
    ("booking_service", "booking_service"),
    ("booking_service", "notification_service"),
    ("booking_service", "queue"),
    ("load_balancer", "api_gateway"),
    ("load_balancer", "load_balancer"),
    ("loadtest", "load_balancer"),
    ("notification_service", "notification_service"),
    ("notification_service", "queue"),
    ("search_service", "search_service"),
];

async fn get(base: &str, path: &str) -> Value {
    let reply = reqwest::get(format!("{base}{path}")).await.unwrap().error_for_status().unwrap();
    reply.json().await.unwrap()
}

fn load(stack: &Stack, out: &Path) -> PathBuf {
    let output = workbench()
        .args(["load", "--rate", "40", "--duration", "6s", "--seed", "11"])
        .args(["--target", &stack.addresses.balancer, "--collector", &stack.addresses.collector])
        .args(["--otlp", &stack.addresses.otlp_grpc, "--out"])
        .arg(out)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    fs::read_dir(out).unwrap().next().unwrap().unwrap().path()
}

/// How many traces a search finds.
async fn found(collector: &str, service: &str, condition: &str) -> usize {
    let path = format!("/api/traces?service={service}&limit=10000&lookback=1h&{condition}");
    get(collector, &path).await["data"].as_array().unwrap().len()
}

/// How many requests of these names (by their beginning) the run counted.
fn counted(run: &Value, name: &str) -> usize {
    let rows = run["requests"].as_array().unwrap().iter();
    let rows = rows.filter(|row| row["name"].as_str().unwrap().starts_with(name));
    rows.map(|row| row["sent"].as_u64().unwrap() as usize).sum()
}

#[tokio::test]
async fn searches_and_the_dependency_graph_tell_what_the_run_counted() {
    let (stack, out) = (Stack::start(), tempfile::tempdir().unwrap());
    let bundle = load(&stack, out.path());
    let run: Value = serde_json::from_slice(&fs::read(bundle.join("run.json")).unwrap()).unwrap();
    let collector = &stack.addresses.collector;

    let calls = get(collector, "/api/dependencies").await;
    let calls: BTreeSet<(&str, &str)> = calls["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|call| (call["parent"].as_str().unwrap(), call["child"].as_str().unwrap()))
        .collect();
    assert_eq!(calls, BTreeSet::from(PATH));

    assert_eq!(found(collector, "loadtest", "").await, counted(&run, ""));
    // Whoever should be refused is, with a 401 that the caller's span counts as an error.
    let refused = counted(&run, "refused");
    assert!(refused > 0);
    let by_status = "tag=http.response.status_code:401";
    assert_eq!(found(collector, "load_balancer", by_status).await, refused);
    assert_eq!(found(collector, "loadtest", "tag=error:true").await, refused);
    assert_eq!(found(collector, "loadtest", "tags=%7B%22error%22:%22true%22%7D").await, refused);
    // Of the requests that took long enough to be the slowest there is the slowest. The hops are without the warm-up: of
    // the log-ins only those of the schedule count, all of them refused.
    let hops = run["hops"].as_array().unwrap().iter();
    let hops: Vec<&Value> = hops.filter(|hop| hop["service"] == "loadtest").collect();
    assert!(hops.len() > 2, "{hops:?}");
    for hop in hops {
        let operation = hop["operation"].as_str().unwrap();
        let slowest = hop["latency_us"]["max"].as_f64().unwrap();
        let but = if operation == "POST /token" { "&tag=error:true" } else { "" };
        let took = async |at_least: u64| {
            let condition = format!("operation={operation}{but}&minDuration={at_least}us");
            found(collector, "loadtest", &condition).await
        };
        assert!(took((slowest * 0.998) as u64).await >= 1, "{hop}");
        assert_eq!(took(slowest as u64 + 1).await, 0, "{hop}");
    }
    assert!(stack.stop().success());
}

/// `workbench serve collector --open`, killed when dropped.
struct Opened {
    child: Child,
    base: String,
}

impl Opened {
    async fn start(run: &Path) -> Self {
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
        let child = workbench()
            .args(["serve", "collector", "--open"])
            .arg(run)
            .env("LISTEN", &address)
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let opened = Self { child, base: format!("http://{address}") };
        comes_right(async || {
            let ready = reqwest::get(format!("{}/health/ready", opened.base)).await;
            (!ready.is_ok_and(|reply| reply.status().is_success())).then(|| "it is not ready".to_owned())
        })
        .await;
        opened
    }
}

impl Drop for Opened {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Every answer that concerns a kept trace or a hop.
async fn answers(collector: &str, traces: &[String]) -> Vec<Value> {
    let mut answers = Vec::new();
    for path in [
        "/api/services",
        "/api/operations?service=api_gateway",
        "/api/v3/operations?service=booking_service",
        "/api/workbench/hops?histograms=true",
        "/api/traces?service=booking_service&limit=1000",
        "/api/traces?service=cache&limit=3000&minDuration=50us",
        "/api/dependencies",
    ] {
        answers.push(get(collector, path).await);
    }
    // One in three: the debug build takes its time.
    for trace in traces.iter().step_by(3) {
        answers.push(get(collector, &format!("/api/traces/{trace}")).await);
        answers.push(get(collector, &format!("/api/v3/traces/{trace}")).await);
    }
    answers
}

#[tokio::test]
async fn a_run_that_is_opened_again_answers_as_it_did_at_its_end() {
    let (stack, out) = (Stack::start(), tempfile::tempdir().unwrap());
    let bundle = load(&stack, out.path());
    let all = get(&stack.addresses.collector, "/api/traces?service=loadtest&limit=10000").await;
    let mut traces: Vec<String> = all["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|trace| format!("{:0>32}", trace["traceID"].as_str().unwrap()))
        .collect();
    assert!(traces.len() >= 240, "{}", traces.len());
    // One that never was is as missing as before.
    traces.push(format!("{:032x}", 77));
    let known = traces.len() - 1;
    let at_the_end = answers_of(&stack.addresses.collector, &traces, known).await;
    assert!(stack.stop().success());
    let opened = Opened::start(&bundle).await;
    let again = answers_of(&opened.base, &traces, known).await;
    for (number, (then, now)) in at_the_end.iter().zip(&again).enumerate() {
        assert_eq!(then, now, "answer {number}");
    }
    assert_eq!(at_the_end.len(), again.len());

    let traces = bundle.join("traces.jsonl.zst");
    let lines = String::from_utf8(zstd::decode_all(&fs::read(&traces).unwrap()[..]).unwrap()).unwrap();
    let all_but_one = lines.split_once('\n').unwrap().1;
    fs::write(&traces, zstd::encode_all(all_but_one.as_bytes(), 3).unwrap()).unwrap();
    let refused = refused(&bundle);
    assert!(refused.contains("traces.jsonl.zst is not what this run wrote"), "{refused}");
}

/// Those of the traces that are there, and the ledger of all.
async fn answers_of(collector: &str, traces: &[String], known: usize) -> Vec<Value> {
    let mut answers = answers(collector, &traces[..known]).await;
    let ledger = reqwest::Client::new().post(format!("{collector}/api/workbench/ledger"));
    let ledger: Value = ledger.json(&json!({ "traces": traces })).send().await.unwrap().json().await.unwrap();
    assert_eq!(ledger["missing"], 1, "{ledger}");
    answers.push(ledger);
    answers
}

/// What is said of a run that cannot be opened.
fn refused(run: &Path) -> String {
    let mut opening = workbench();
    opening.args(["serve", "collector", "--open"]).arg(run).env("LISTEN", "127.0.0.1:0");
    let output = opening.output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    String::from_utf8(output.stderr).unwrap()
}

#[test]
fn what_is_no_run_is_refused_and_told_why() {
    let folder = tempfile::tempdir().unwrap();
    assert!(refused(folder.path()).contains("collector.json.zst"), "{}", refused(folder.path()));
    let put = |name: &str, bytes: &[u8]| fs::write(folder.path().join(name), bytes).unwrap();
    put("collector.json.zst", b"{}");
    put("traces.jsonl.zst", b"");
    assert!(refused(folder.path()).contains("cut off or damaged"), "{}", refused(folder.path()));
    let packed = zstd::encode_all(&b"{}"[..], 3).unwrap();
    put("collector.json.zst", &packed[..packed.len() - 1]);
    assert!(refused(folder.path()).contains("cut off or damaged"), "{}", refused(folder.path()));
    put("collector.json.zst", &packed);
    assert!(refused(folder.path()).contains("not what a run wrote"), "{}", refused(folder.path()));
    let state = json!({ "traces": { "bytes": 0, "crc32": 0 }, "collector": {} }).to_string();
    put("collector.json.zst", &zstd::encode_all(state.as_bytes(), 3).unwrap());
    assert!(refused(folder.path()).contains("not what a collector wrote"), "{}", refused(folder.path()));
}
