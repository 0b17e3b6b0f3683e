//! Loads whose target stops responding: unobserved bookings and traces are unknown, and waiting requests count as slow.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::harness::{Load, Stack, eventually, sum};

/// The figures of each progress line after `label`.
fn progress(stderr: &str, label: &str) -> Vec<u64> {
    let figure = |line: &str| line.split(label).nth(1)?.split_whitespace().next()?.parse().ok();
    stderr.lines().filter_map(figure).collect()
}

#[test]
fn bookings_of_a_target_that_died_are_unknown() {
    let stack = Stack::start();
    let arguments = ["--rate", "40", "--duration", "6s", "--seed", "3", "--slo", "p99<60s", "p1<60s"];
    let load = Load::of(&stack, &arguments).start();
    eventually("a booking is accepted", || !stack.log_lines_with("booking_service", "POST /book").is_empty());
    assert!(stack.stop().success());
    let died = Instant::now();
    let loaded = load.finish();
    assert!(died.elapsed() < Duration::from_secs(35), "{:?}", died.elapsed());
    assert_eq!(loaded.code(), Some(1), "{}", loaded.text());
    let run = loaded.run();
    let bookings = &run["bookings"];
    assert!(bookings["unknown"].as_u64() > Some(0), "{bookings}");
    // Requests to book without a reply are unknown, too.
    assert_eq!(bookings["lost"], 0, "{bookings}");
    assert!(bookings["unknown"].as_u64() >= bookings["accepted"].as_u64(), "{bookings}");
    assert_eq!(bookings["commit_to_notified_us"], Value::Null, "{bookings}");
    assert!(run["ledger"]["unknown"].as_u64() > Some(0), "the collector died, too: {}", run["ledger"]);

    assert!(sum(&run, "failed") > 0);
    let slow = &run["slo"][0];
    assert_eq!((&slow["met"], &slow["value"]), (&Value::Bool(false), &Value::Null), "{slow}");
    assert!(slow["unverified"].as_u64() > Some(0) && slow["verified_value"].as_f64() < Some(60.0), "{slow}");
    assert_eq!(run["slo"][1]["met"], true, "{}", run["slo"]);
    let printed = loaded.text();
    for part in [
        " 0 lost, ",
        " unknown, 0 double-booked; commit to notified p50 -, p99 -",
        "(∞: ",
        " have no verified reply; ",
    ] {
        assert!(printed.contains(part), "{part}: {printed}");
    }
}

#[test]
fn a_stalled_target_shows_in_the_progress_and_not_as_a_fault_of_the_generator() {
    let stack = Stack::start();
    let load = Load::of(&stack, &["--rate", "40", "--duration", "9s", "--seed", "5"]).start();
    eventually("the schedule has begun", || stack.log("load_balancer").contains("GET /bookings"));
    stack.signal("load_balancer", Signal::SIGSTOP);
    // Longer than the interval between two lines.
    std::thread::sleep(Duration::from_secs(6));
    stack.signal("load_balancer", Signal::SIGCONT);
    let loaded = load.finish();
    let stderr = loaded.finished.stderr();
    assert!(progress(&stderr, " overdue ").into_iter().any(|overdue| overdue > 10), "{stderr}");
    assert!(progress(&stderr, " failed ").into_iter().all(|failed| failed == 0), "{stderr}");
    let outage = stderr.lines().find(|line| !line.ends_with(" overdue 0") && line.contains(" overdue "));
    assert!(outage.is_some_and(|line| line.contains("p99 ") && line.contains(" s  wrong 0")), "{stderr}");

    let run = loaded.run();
    let verdict = run["validity"]["verdict"].as_str().unwrap();
    assert!(!verdict.contains("--users"), "{verdict}");
    assert!(run["validity"]["waited_share"].as_f64() > Some(0.1), "{}", run["validity"]);
    let blame = run["blame"].as_array().unwrap().iter().filter(|blame| blame["request"] == "all");
    let share = |hop: &str| -> f64 {
        let shares = blame.clone().flat_map(|blame| blame["shares"].as_array().unwrap());
        shares.filter(|share| share["hop"] == hop).map(|share| share["share"].as_f64().unwrap()).sum()
    };
    let waited = share("previous reply of the journey") + share("replies to earlier journeys");
    assert!(waited > share("generator"), "{}", run["blame"]);
}

#[test]
fn a_generator_without_descriptors_says_so() {
    let stack = Stack::start();
    let arguments = ["--rate", "150", "--duration", "5s", "--seed", "5"];
    let load = Load::of(&stack, &arguments).with_descriptors("-n 64").start();
    eventually("the schedule has begun", || stack.log("load_balancer").contains("GET /bookings"));
    stack.signal("load_balancer", Signal::SIGSTOP);
    std::thread::sleep(Duration::from_secs(2));
    stack.signal("load_balancer", Signal::SIGCONT);
    let loaded = load.finish();
    let run = loaded.run();
    let validity = &run["validity"];
    assert_eq!(validity["descriptor_limit"], 64, "{validity}");
    assert_eq!(validity["generator_saturated"], true, "{}", loaded.text());
    assert!(validity["verdict"].as_str().unwrap().contains("limit of 64 file descriptors"), "{validity}");
}

#[test]
fn requests_of_users_that_could_not_log_in_for_lack_of_descriptors_are_not_failures_of_the_target() {
    let stack = Stack::start();
    let arguments = ["--rate", "60", "--duration", "1s", "--users", "100", "--seed", "3"];
    let load = Load::of(&stack, &arguments).with_descriptors("-n 64").start();
    let log_ins = || stack.log_lines_with("load_balancer", "POST /token").len();
    // The first one is a check before the run.
    eventually("a user has logged in", || log_ins() > 1);
    stack.signal("load_balancer", Signal::SIGSTOP);
    std::thread::sleep(Duration::from_secs(4));
    stack.signal("load_balancer", Signal::SIGCONT);
    let loaded = load.finish();
    let (run, text) = (loaded.run(), loaded.text());
    let verdict = run["validity"]["verdict"].as_str().unwrap();
    let at_limit = verdict.split(" requests failed at the generator's limit of 64 file").next().unwrap();
    let at_limit = at_limit.rsplit(' ').next().unwrap().parse::<u64>();
    // The first row is that of the log-ins.
    let log_ins = run["requests"][0]["failed"].as_u64().unwrap();
    assert!(at_limit.is_ok_and(|count| count > log_ins) && log_ins > 0, "{log_ins} log-ins failed: {text}");
    let reasons: Vec<&str> =
        run["findings"].as_array().unwrap().iter().map(|finding| finding["why"].as_str().unwrap()).collect();
    let is_consequence = |why: &&str| why.starts_with("not sent, because the log-in of its user failed: ");
    assert!(reasons.iter().any(|why| is_consequence(why) && why.contains("(os error 24)")), "{reasons:?}");
    assert!(reasons.iter().all(|why| !why.contains("missing_credentials")), "{reasons:?}");
}

#[test]
fn the_soft_limit_of_descriptors_is_raised() {
    let stack = Stack::start();
    let arguments = ["--rate", "20", "--duration", "1s"];
    let loaded = Load::of(&stack, &arguments).with_descriptors("-S -n 40").run();
    assert_eq!(loaded.code(), Some(0), "{}", loaded.text());
    assert!(loaded.run()["validity"]["descriptor_limit"].as_u64() > Some(40));
}
