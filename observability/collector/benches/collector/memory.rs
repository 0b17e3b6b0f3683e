//! Memory of the process while it receives far more than the store may keep, as a curve, and its peak relative to the
//! limit. It must stay below 1.5 times the limit for every input.

use std::fs;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use bytes::Bytes;

use super::hostile;
use super::running::Collector;
use super::spans::{self, MessageGenerator};

const LIMIT: usize = 256 << 20;
const SPANS: usize = 10_000_000;
/// Number of lines of a curve.
const STEPS: usize = 20;
const WIDTH: usize = 50;

const CASES: [&str; 9] = [
    "10 million spans, 8 per trace",
    "one trace of 1 million spans",
    "1 million services",
    "1 million operations",
    "attributes of 10 MB",
    "lists nested 1,000 levels deep",
    "messages of empty spans",
    "5 million traces of one span",
    "5 million traces of one span, 200,000 per message",
];

/// Prints a curve for each input, each measured in a process of its own. Returns whether memory stayed below the
/// limit in all of them.
pub(crate) fn within_limit(quick: bool) -> bool {
    let measured = (0..CASES.len()).map(|case| {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["memory-of", &case.to_string()]);
        if quick {
            command.arg("--quick");
        }
        command.status().unwrap().success()
    });
    // Collected first, so that all cases run even if one fails.
    let measured: Vec<bool> = measured.collect();
    measured.into_iter().all(|within| within)
}

/// Measures one case.
pub(crate) fn is_within_limit(case: usize, quick: bool) -> bool {
    let scale = if quick { 100 } else { 1 };
    let mut batches = MessageGenerator::new();
    let messages: Box<dyn ExactSizeIterator<Item = Bytes>> = match case {
        0 => Box::new((0..SPANS / scale / spans::SPANS_PER_MESSAGE).map(move |_| batches.next())),
        1 => hostile::one_trace(1_000_000 / scale),
        2 => hostile::services(1_000_000 / scale),
        3 => hostile::operations(1_000_000 / scale),
        4 => hostile::long_attributes(200 / scale.min(20)),
        5 => hostile::deep(2_000 / scale),
        6 => hostile::empty_spans(40 / scale.min(20)),
        7 => hostile::traces(10_000 / scale, 500),
        _ => hostile::traces(25 / scale.min(20), 200_000),
    };
    println!("\n{}, store of {} MiB", CASES[case], LIMIT >> 20);
    let peak = curve(messages);
    println!("  peak {} MiB, {:.2} of the limit", peak >> 20, peak as f64 / LIMIT as f64);
    peak < LIMIT / 2 * 3
}

fn curve(messages: Box<dyn ExactSizeIterator<Item = Bytes>>) -> usize {
    let collector = Collector::start(LIMIT, 2);
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
                let bar = "█".repeat((now * WIDTH / (LIMIT / 2 * 3)).min(2 * WIDTH));
                println!("  {number:>8} {:>5} MiB {bar}", now >> 20);
            }
        });
        collector.offer(shown.map(|(_, message)| message));
        done.store(true, Relaxed);
    });
    peak.load(Relaxed)
}

/// Returns the resident memory. The sender's part of it is one or two messages.
fn resident() -> usize {
    let statm = fs::read_to_string("/proc/self/statm").unwrap();
    statm.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() * 4096
}
