//! `workbench load` against a running system: what it reports is what happened.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use crate::harness::{Stack, eventually, workbench};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use sqlx::Connection as _;
use tempfile::TempDir;

/// A folder for bundles, and the command that fills it.
struct Load {
    out: TempDir,
    command: Command,
}

impl Load {
    fn of(stack: &Stack, arguments: &[&str]) -> Self {
        let (out, addresses) = (TempDir::new().unwrap(), &stack.addresses);
        let mut command = workbench();
        command
            .args(["load", "--target", &addresses.balancer, "--collector", &addresses.collector])
            .args(["--otlp", &addresses.otlp_grpc])
            .args(arguments);
        if !arguments.contains(&"--out") {
            command.args(["--out", out.path().to_str().unwrap()]);
        }
        Load { out, command }
    }

    fn run(mut self) -> Loaded {
        let output = self.command.output().unwrap();
        Loaded { output, out: self.out }
    }
}

/// What a finished load printed and wrote.
struct Loaded {
    output: Output,
    out: TempDir,
}

impl Loaded {
    fn code(&self) -> Option<i32> {
        self.output.status.code()
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.output.stdout).into_owned()
            + &String::from_utf8_lossy(&self.output.stderr)
    }

    fn bundle(&self) -> PathBuf {
        let mut bundles = fs::read_dir(self.out.path()).unwrap().map(|entry| entry.unwrap().path());
        let bundle = bundles.next().unwrap_or_else(|| panic!("no bundle; the load said {}", self.text()));
        assert_eq!(bundles.next(), None, "one bundle and nothing half-written");
        bundle
    }

    fn run(&self) -> Value {
        serde_json::from_slice(&fs::read(self.bundle().join("run.json")).unwrap()).unwrap()
    }
}

fn sum(run: &Value, count: &str) -> u64 {
    run["requests"].as_array().unwrap().iter().map(|row| row[count].as_u64().unwrap()).sum()
}

#[test]
fn a_sound_system_is_verified_reply_by_reply_and_every_trace_is_accounted_for() {
    let stack = Stack::start();
    let loaded =
        Load::of(&stack, &["--rate", "40", "--duration", "6s", "--seed", "7", "--slo", "wrong==0"]).run();
    let run = loaded.run();
    assert_eq!(loaded.code(), Some(0), "{}", loaded.text());

    let steady: Vec<&Value> =
        run["requests"].as_array().unwrap().iter().filter(|row| row["phase"] == "schedule").collect();
    assert_eq!(steady.iter().map(|row| row["due"].as_u64().unwrap()).sum::<u64>(), 240);
    assert_eq!((sum(&run, "due"), sum(&run, "due")), (sum(&run, "sent"), sum(&run, "verified")));
    assert_eq!((sum(&run, "wrong"), sum(&run, "failed")), (0, 0));

    let ledger = &run["ledger"];
    assert_eq!(ledger["complete"], ledger["expected"], "{ledger}");
    assert_eq!(ledger["expected"].as_u64().unwrap(), sum(&run, "sent"));

    let bookings = &run["bookings"];
    assert!(bookings["accepted"].as_u64().unwrap() > 0);
    assert_eq!((&bookings["notified"], &bookings["lost"]), (&bookings["accepted"], &Value::from(0)));
    assert!(bookings["commit_to_notified_us"]["p50"].as_f64().unwrap() > 0.0);

    let served: Vec<u64> =
        run["distribution"].as_array().unwrap().iter().map(|row| row["requests"].as_u64().unwrap()).collect();
    assert!(matches!(served[..], [one, two] if one.abs_diff(two) <= 1 && one + two == 240), "{served:?}");

    let services: Vec<&str> =
        run["hops"].as_array().unwrap().iter().map(|hop| hop["service"].as_str().unwrap()).collect();
    for service in [
        "load_balancer",
        "api_gateway",
        "cache",
        "search_service",
        "booking_service",
        "queue",
        "notification_service",
    ] {
        assert!(services.contains(&service), "{service} is no hop: {services:?}");
    }
    let entering = run["hops"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|hop| hop["service"] == "load_balancer" && hop["kind"] == "server");
    assert_eq!(
        entering.map(|hop| hop["count"].as_u64().unwrap()).sum::<u64>(),
        240,
        "the warm-up is in no hop"
    );

    assert_eq!(run["blame"].as_array().unwrap().iter().filter(|blame| blame["request"] == "all").count(), 4);
    for blame in run["blame"].as_array().unwrap() {
        let shares: f64 =
            blame["shares"].as_array().unwrap().iter().map(|s| s["share"].as_f64().unwrap()).sum();
        assert!((shares - 1.0).abs() < 1e-6, "{blame}");
    }
    for file in ["GET_search.hgrm", "latency.hlog", "exemplars.json", "traces.jsonl.zst", "report.html"] {
        assert!(fs::metadata(loaded.bundle().join(file)).unwrap().len() > 0, "{file}");
    }

    let again = workbench().arg("report").arg(loaded.bundle()).output().unwrap();
    let printed = String::from_utf8_lossy(&loaded.output.stdout).into_owned();
    assert!(printed.starts_with(&*String::from_utf8_lossy(&again.stdout)), "{printed}");
    assert!(printed.contains("A SLOW REQUEST") && printed.contains("PASSED"), "{printed}");
}

#[test]
fn a_tutor_changed_behind_the_cache_is_seen_as_wrong() {
    let stack = Stack::start();
    // Nobody has searched before, so the cache holds no right answer.
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
fn a_missed_objective_fails_the_run_and_an_unreadable_one_is_bad_usage() {
    let stack = Stack::start();
    let missed =
        Load::of(&stack, &["--rate", "20", "--duration", "1s", "--slo", "GET /search:p50<1ns", "failed<1"])
            .run();
    assert_eq!(missed.code(), Some(1), "{}", missed.text());
    let met: Vec<bool> =
        missed.run()["slo"].as_array().unwrap().iter().map(|slo| slo["met"].as_bool().unwrap()).collect();
    assert_eq!(met, [false, true]);

    let unreadable = Load::of(&stack, &["--slo", "p99<soon"]).run();
    assert_eq!(unreadable.code(), Some(2));
    assert!(unreadable.text().contains("'soon' is no number"), "{}", unreadable.text());

    let file = tempfile::NamedTempFile::new().unwrap();
    let nowhere = Load::of(&stack, &["--duration", "10m", "--out", file.path().to_str().unwrap()]).run();
    assert_eq!(nowhere.code(), Some(2), "before anything is sent: {}", nowhere.text());
    assert!(nowhere.text().contains("--out names another"), "{}", nowhere.text());
}

#[test]
fn ctrl_c_ends_a_run_early_and_writes_what_was_measured() {
    let stack = Stack::start();
    let mut load = Load::of(&stack, &["--rate", "20", "--duration", "10m", "--users", "6", "--json"]);
    let child = load.command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // The log of the balancer tells when the schedule has begun.
    eventually("bookings are read", || stack.log("load_balancer").contains("GET /bookings"));
    kill(Pid::from_raw(child.id() as i32), Signal::SIGINT).unwrap();
    let loaded = Loaded { output: child.wait_with_output().unwrap(), out: load.out };
    assert_eq!(loaded.code(), Some(1), "{}", loaded.text());
    let run = loaded.run();
    assert_eq!((&run["interrupted"], &run["passed"]), (&Value::Bool(true), &Value::Bool(false)));
    assert!(sum(&run, "verified") > 0 && sum(&run, "sent") < sum(&run, "due"));
    assert_eq!(sum(&run, "failed"), 0, "nothing is cut off in the middle: {}", loaded.text());
    let printed: Value = serde_json::from_slice(&loaded.output.stdout).unwrap();
    assert_eq!(printed, run, "--json prints run.json and nothing else");
}

#[test]
fn a_second_ctrl_c_gives_up_waiting_for_what_does_not_come() {
    let stack = Stack::start();
    stack.signal("notification_service", Signal::SIGSTOP);
    let mut load = Load::of(&stack, &["--rate", "20", "--duration", "10m", "--users", "6"]);
    let mut child = load.command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    eventually("a booking is accepted", || stack.log("booking_service").contains("\"booked\""));
    let pid = Pid::from_raw(child.id() as i32);
    let mut ended = None;
    // The first ends the run, any further one the wait for notifications.
    eventually("the load ends", || {
        kill(pid, Signal::SIGINT).unwrap();
        ended = child.try_wait().unwrap();
        ended.is_some()
    });
    stack.signal("notification_service", Signal::SIGCONT);
    assert_eq!(ended.and_then(|status| status.code()), Some(1));
    assert_eq!(fs::read_dir(load.out.path()).unwrap().count(), 0, "nothing half-written");
}

#[test]
fn a_target_that_is_not_there_or_not_seeded_is_one_clear_error() {
    let absent = workbench().args(["load", "--target", "http://127.0.0.1:9"]).output().unwrap();
    assert_eq!(absent.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&absent.stderr).contains("no system at http://127.0.0.1:9"));

    let stack = Stack::start_with(|up| {
        up.args(["--tutors", "100"]);
    });
    let fewer = Load::of(&stack, &[]).run();
    assert_eq!(fewer.code(), Some(2));
    assert!(fewer.text().contains("workbench seed --tutors 1000"), "{}", fewer.text());
    let unheard = workbench()
        .args(["load", "--target", &stack.addresses.balancer, "--collector", &stack.addresses.collector])
        .args(["--tutors", "100", "--otlp", "http://127.0.0.1:9"])
        .output()
        .unwrap();
    assert_eq!(unheard.status.code(), Some(2));
    let said = String::from_utf8_lossy(&unheard.stderr);
    assert!(said.contains("nobody takes OTLP at http://127.0.0.1:9"), "{said}");
}
