//! `workbench load` against a running system: its report agrees with what happened.

use std::fs;

use serde_json::Value;
use sqlx::Connection as _;

use crate::harness::{Load, RoleProcess, Stack, run, sum, workbench};

/// Asserts that nothing but the run was observed: one clock, no other load, and no errors that were intended.
fn assert_quiet(json: &Value) {
    assert_eq!((sum(json, "wrong"), sum(json, "failed")), (0, 0));
    let validity = &json["validity"];
    assert_eq!(validity["other_load"], 0, "{validity}");
    let skew = |name: &str| validity[name].as_f64().unwrap();
    assert!(skew("clock_skew_us") <= skew("clock_skew_uncertainty_us") + 500.0, "one clock: {validity}");
    let client_errors = json["hops"].as_array().unwrap().iter().filter(|hop| hop["service"] == "loadtest");
    let refused: u64 = client_errors.clone().map(|hop| hop["refused"].as_u64().unwrap()).sum();
    let errors: u64 = client_errors.map(|hop| hop["errors"].as_u64().unwrap()).sum();
    assert_eq!((errors, refused), (0, 0), "the generator's spans of intended refusals are no errors");
}

fn assert_every_service_has_hops(json: &Value) {
    let services: Vec<&str> =
        json["hops"].as_array().unwrap().iter().map(|hop| hop["service"].as_str().unwrap()).collect();
    for service in [
        "load_balancer",
        "api_gateway",
        "cache",
        "search_service",
        "booking_service",
        "queue",
        "notification_service",
    ] {
        assert!(services.contains(&service), "{service} is missing: {services:?}");
    }
}

#[test]
fn verifies_every_reply_and_accounts_for_every_trace() {
    let stack = Stack::start();
    let loaded =
        Load::of(&stack, &["--rate", "40", "--duration", "6s", "--seed", "7", "--slo", "wrong==0"]).run();
    let json = loaded.run();
    assert_eq!(loaded.code(), Some(0), "{}", loaded.text());

    let steady: Vec<&Value> =
        json["requests"].as_array().unwrap().iter().filter(|row| row["phase"] == "schedule").collect();
    assert_eq!(steady.iter().map(|row| row["due"].as_u64().unwrap()).sum::<u64>(), 240);
    // Users choose among few slots, so some of them are taken.
    let answered = sum(&json, "verified") + sum(&json, "conflicts");
    assert_eq!((sum(&json, "due"), sum(&json, "due")), (sum(&json, "sent"), answered));

    let ledger = &json["ledger"];
    assert_eq!(ledger["complete"], ledger["expected"], "{ledger}");
    assert_eq!(ledger["expected"].as_u64().unwrap(), sum(&json, "sent"));

    let bookings = &json["bookings"];
    assert!(bookings["accepted"].as_u64().unwrap() > 0);
    assert_eq!((&bookings["notified"], &bookings["lost"]), (&bookings["accepted"], &Value::from(0)));
    assert!(bookings["commit_to_notified_us"]["p50"].as_f64().unwrap() > 0.0);

    let served: Vec<u64> = json["distribution"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| row["requests"].as_u64().unwrap())
        .collect();
    assert!(matches!(served[..], [one, two] if one.abs_diff(two) <= 1 && one + two == 240), "{served:?}");

    assert_every_service_has_hops(&json);
    let entering = json["hops"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|hop| hop["service"] == "load_balancer" && hop["kind"] == "server");
    assert_eq!(
        entering.map(|hop| hop["count"].as_u64().unwrap()).sum::<u64>(),
        240,
        "hops exclude the warm-up"
    );

    assert_quiet(&json);

    assert_eq!(json["blame"].as_array().unwrap().iter().filter(|blame| blame["request"] == "all").count(), 4);
    for blame in json["blame"].as_array().unwrap() {
        let shares: f64 =
            blame["shares"].as_array().unwrap().iter().map(|s| s["share"].as_f64().unwrap()).sum();
        assert!((shares - 1.0).abs() < 1e-6, "{blame}");
    }
    for file in ["GET_search.hgrm", "latency.hlog", "exemplars.json", "traces.jsonl.zst", "report.html"] {
        assert!(fs::metadata(loaded.bundle().join(file)).unwrap().len() > 0, "{file}");
    }

    let report = run(workbench().arg("report").arg(loaded.bundle()));
    let printed = String::from_utf8_lossy(loaded.finished.stdout());
    assert_eq!(printed, String::from_utf8_lossy(report.stdout()), "the report of an earlier run is the same");
    assert!(printed.contains("A SLOW REQUEST") && printed.contains("PASSED"), "{printed}");
}

#[test]
fn reports_a_changed_tutor_as_a_wrong_reply() {
    let stack = Stack::start();
    // The cache is empty: every search reads the changed row.
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let mut database = sqlx::PgConnection::connect(&stack.addresses.database_url).await.unwrap();
        let changed = sqlx::query("UPDATE tutors SET rating = 0.1 WHERE subject = 'Math' AND id = 1");
        assert_eq!(changed.execute(&mut database).await.unwrap().rows_affected(), 1);
    });
    let loaded = Load::of(&stack, &["--rate", "30", "--duration", "3s", "--seed", "7"]).run();
    let run = loaded.run();
    assert!(sum(&run, "wrong") > 0, "{}", loaded.text());
    assert_eq!(sum(&run, "failed"), 0);
    assert_eq!(loaded.code(), Some(1));
    assert!(loaded.text().contains("of the list: expected"), "{}", loaded.text());
}

#[test]
fn missed_slo_exits_with_1_and_invalid_arguments_with_2() {
    let stack = Stack::start();
    let missed =
        Load::of(&stack, &["--rate", "20", "--duration", "1s", "--slo", "GET /search:p50<1ns", "failed<1"])
            .run();
    assert_eq!(missed.code(), Some(1), "{}", missed.text());
    let met: Vec<bool> =
        missed.run()["slo"].as_array().unwrap().iter().map(|slo| slo["met"].as_bool().unwrap()).collect();
    assert_eq!(met, [false, true]);

    Load::of(&stack, &["--slo", "p99<soon"]).run().finished.failed(2, "'soon' is not a number");

    let file = tempfile::NamedTempFile::new().unwrap();
    let nowhere = Load::of(&stack, &["--duration", "10m", "--out", file.path().to_str().unwrap()]);
    nowhere.run().finished.failed(2, "choose another with --out");
}

#[test]
fn rejects_a_target_that_is_unreachable_or_not_seeded() {
    run(workbench().args(["load", "--target", "http://127.0.0.1:9"]))
        .failed(2, "no system at http://127.0.0.1:9");

    let stack = Stack::start_with(|up| {
        up.args(["--tutors", "100"]);
    });
    Load::of(&stack, &[]).run().finished.failed(2, "workbench seed --tutors 1000");
    Load::with_collector(&stack, &stack.addresses.collector, "http://127.0.0.1:9", &["--tutors", "100"])
        .run()
        .finished
        .failed(2, "no OTLP receiver at http://127.0.0.1:9");
}

#[test]
fn refuses_a_target_that_starts_traces_of_its_own_unless_it_knows_the_secret() {
    const SECRET: &str = "0123456789abcdef";
    let stack = Stack::start();
    let gateways = stack.addresses.gateways.join(",");
    let (_balancer, address) = RoleProcess::start("balancer", |command| {
        command.env("GATEWAY_URLS", gateways).env("TRUST_TRACEPARENT_SECRET", SECRET);
        command.env("OTEL_EXPORTER_OTLP_ENDPOINT", &stack.addresses.otlp_grpc);
    });
    let load = |secret: &str| {
        let mut load = workbench();
        load.args(["load", "--target", &format!("http://{address}"), "--rate", "20", "--duration", "1s"]);
        load.args(["--collector", &stack.addresses.collector, "--otlp", &stack.addresses.otlp_grpc]);
        let out = tempfile::tempdir().unwrap();
        let finished = run(load.arg("--out").arg(out.path()).env("WORKBENCH_TRACE_SECRET", secret));
        (finished, fs::read_dir(out.path()).unwrap().count())
    };
    let (refused, written) = load("another secret!!");
    refused.failed(2, "add the address of this machine to TRUST_TRACEPARENT of the balancer");
    assert_eq!(written, 0);
    let (accepted, written) = load(SECRET);
    assert_eq!((accepted.code(), written), (Some(0), 1), "{}", accepted.text());
}
