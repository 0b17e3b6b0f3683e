//! How much memory the process takes while far more comes in than the store may keep: the curve, and its peak as a share of
//! the bound. It must stay below one and a half times the bound, whatever is sent.

use std::fs;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use bytes::Bytes;

use super::hostile;
use super::running::Collector;
use super::spans::{self, Batches};

const BOUND: usize = 256 << 20;
const SPANS: usize = 10_000_000;
/// Lines of the curve.
const STEPS: usize = 20;
const WIDTH: usize = 50;

const CASES: [&str; 9] = [
    "10 million spans of eight to a trace",
    "one trace of a million spans",
    "a million services",
    "a million operations",
    "attributes of 10 MB",
    "lists in lists, a thousand deep",
    "messages of empty spans",
    "five million traces of one span",
    "the same in messages of 200 thousand",
];

/// Prints a curve for each way to send too much, each in a process of its own: none pays for what another left behind.
/// Returns whether memory stayed within its bound throughout.
pub(crate) fn within_bound(quick: bool) -> bool {
    let measured = (0..CASES.len()).map(|case| {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["memory-of", &case.to_string()]);
        if quick {
            command.arg("--quick");
        }
        command.status().unwrap().success()
    });
    // All of them are shown, whatever the first ones came to.
    let measured: Vec<bool> = measured.collect();
    measured.into_iter().all(|within| within)
}

/// One of them.
pub(crate) fn is_within_bound(case: usize, quick: bool) -> bool {
    let scale = if quick { 100 } else { 1 };
    let mut batches = Batches::new();
    let messages: Box<dyn ExactSizeIterator<Item = Bytes>> = match case {
        0 => Box::new((0..SPANS / scale / spans::IN_A_BATCH).map(move |_| batches.next())),
        1 => hostile::one_trace(1_000_000 / scale),
        2 => hostile::services(1_000_000 / scale),
        3 => hostile::operations(1_000_000 / scale),
        4 => hostile::long_attributes(200 / scale.min(20)),
        5 => hostile::deep(2_000 / scale),
        6 => hostile::empty_spans(40 / scale.min(20)),
        7 => hostile::traces(10_000 / scale, 500),
        _ => hostile::traces(25 / scale.min(20), 200_000),
    };
    println!("\n{}, through a store of {} MiB", CASES[case], BOUND >> 20);
    let peak = curve(messages);
    println!("  peak {} MiB, {:.2} of the bound", peak >> 20, peak as f64 / BOUND as f64);
    peak < BOUND / 2 * 3
}

fn curve(messages: Box<dyn ExactSizeIterator<Item = Bytes>>) -> usize {
    let collector = Collector::start(BOUND, 2);
    let (peak, done) = (AtomicUsize::new(0), AtomicBool::new(false));
    let step = messages.len().div_ceil(STEPS);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Relaxed) {
                peak.fetch_max(resident(), Relaxed);
                std::thread::sleep(Duration::from_millis(10));
            }
        });
        let shown = messages.enumerate().inspect(|(number, _)| {
            if number % step == 0 {
                let now = resident();
                let bar = "█".repeat((now * WIDTH / (BOUND / 2 * 3)).min(2 * WIDTH));
                println!("  {number:>8} {:>5} MiB {bar}", now >> 20);
            }
        });
        collector.offer(shown.map(|(_, message)| message));
        done.store(true, Relaxed);
    });
    peak.load(Relaxed)
}

/// What the process takes now. The sender's own part is a message or two.
fn resident() -> usize {
    let statm = fs::read_to_string("/proc/self/statm").unwrap();
    statm.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() * 4096
}
