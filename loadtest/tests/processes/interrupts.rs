//! SIGINT and SIGTERM during a load: the run is reported in any case.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::harness::{FinishedLoad, Load, RunningLoad, Stack, eventually, sum};

/// A load of ten minutes that has accepted a booking.
fn load_with_a_booking(stack: &Stack, arguments: &[&str]) -> RunningLoad {
    let arguments = [&["--rate", "20", "--duration", "10m", "--users", "6"], arguments].concat();
    let load = Load::of(stack, &arguments).start();
    eventually("a booking is accepted", || !stack.log_lines_with("booking_service", "POST /book").is_empty());
    load
}

fn assert_interrupted(loaded: &FinishedLoad) -> Value {
    assert_eq!(loaded.code(), Some(130), "{}", loaded.text());
    let run = loaded.run();
    assert_eq!((&run["interrupted"], &run["passed"]), (&Value::Bool(true), &Value::Bool(false)));
    assert!(sum(&run, "verified") > 0 && sum(&run, "sent") < sum(&run, "due"));
    run
}

#[test]
fn ctrl_c_ends_a_run_and_writes_its_results() {
    let stack = Stack::start();
    let load = load_with_a_booking(&stack, &["--json"]);
    load.signal(Signal::SIGINT);
    let loaded = load.finish();
    let run = assert_interrupted(&loaded);
    assert_eq!(sum(&run, "failed"), 0, "requests in flight are completed: {}", loaded.text());
    let printed: Value = serde_json::from_slice(loaded.finished.stdout()).unwrap();
    assert_eq!(printed, run, "--json prints run.json and nothing else");
}

#[test]
fn signals_within_two_seconds_count_as_one_and_the_last_line_says_interrupted() {
    let stack = Stack::start();
    let load = load_with_a_booking(&stack, &[]);
    // As GNU timeout does: first the process, then its group.
    for signal in [Signal::SIGTERM, Signal::SIGTERM, Signal::SIGINT] {
        load.signal(signal);
        std::thread::sleep(Duration::from_millis(5));
    }
    let loaded = load.finish();
    let run = assert_interrupted(&loaded);
    let bookings = &run["bookings"];
    assert_eq!(bookings["notified"], bookings["accepted"], "the notifications were waited for: {bookings}");
    let printed = String::from_utf8_lossy(loaded.finished.stdout()).into_owned();
    let last = printed.lines().last().unwrap();
    assert!(last.starts_with("INTERRUPTED after") && last.contains("neither passed nor failed"), "{last}");
}

#[test]
fn later_ctrl_c_ends_the_waits_and_the_bundle_is_written() {
    let stack = Stack::start();
    stack.signal("notification_service", Signal::SIGSTOP);
    let mut load = load_with_a_booking(&stack, &[]);
    let start = Instant::now();
    eventually("the load ends", || {
        load.signal(Signal::SIGINT);
        load.has_ended()
    });
    stack.signal("notification_service", Signal::SIGCONT);
    assert!(start.elapsed() > Duration::from_secs(2), "signals of the first two seconds are one");
    let loaded = load.finish();
    let run = assert_interrupted(&loaded);
    let bookings = &run["bookings"];
    assert!(bookings["unknown"].as_u64() > Some(0), "{bookings}");
    assert_eq!(bookings["lost"], 0, "nobody waited for their notifications: {bookings}");
}

#[test]
fn a_signal_before_the_load_begins_leaves_nothing() {
    let stack = Stack::start_small();
    stack.signal("load_balancer", Signal::SIGSTOP);
    let load = Load::of(&stack, &["--tutors", "2", "--students", "2"]).start();
    // The signal handlers are installed before the telemetry starts.
    eventually("the load waits for the balancer", || load.has_threads());
    load.signal(Signal::SIGTERM);
    let loaded = load.finish();
    stack.signal("load_balancer", Signal::SIGCONT);
    assert_eq!(loaded.code(), Some(130), "{}", loaded.text());
    assert!(loaded.text().contains("interrupted before the load began") && loaded.written().is_empty());
}
