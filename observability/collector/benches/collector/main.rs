//! How fast the collector takes spans in and answers, each figure beside a baseline of the same run.
//!
//! The collector runs whole, in this process. It takes spans in on one thread, the sender is on another, and spans a
//! second are told for a second of that one thread's CPU: what else the machine does is not the collector's doing. It
//! answers on two threads, as on a machine of two cores. `cargo bench -p observability`
//! takes about a minute; with `-- --quick` everything is done for a moment only, so that it cannot rot. With `-- memory`
//! it shows how much memory too much takes instead, with `-- retention` what of a million requests is still there.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a benchmark ends where its ground gives way")]

mod hostile;
mod memory;
mod retention;
mod running;
mod spans;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use bytes::Bytes;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use prost::Message as _;

use running::Collector;
use spans::Batches;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Room for what comes in.
const STORE_BYTES: usize = 1 << 30;
/// Traces to search through.
const TRACES: usize = 100_000;
/// What each of them takes, with its part of the histograms and of what is remembered of those that left.
const TRACE_BYTES: usize = 5_000;
/// Operations beside those of the traces.
const OPERATIONS: usize = 100;
/// What comes in while questions are asked.
const SPANS_A_SECOND: u32 = 150_000;
/// Messages that are on their way at once.
const IN_FLIGHT: usize = 4;

fn main() -> ExitCode {
    let given = |name: &str| std::env::args().any(|argument| argument == name);
    let quick = given("--quick") || given("--test");
    let verdict = |within| if within { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    if given("memory") {
        return verdict(memory::within_bound(quick));
    }
    if given("retention") {
        return verdict(retention::keeps_what_matters(quick));
    }
    let mut arguments = std::env::args().skip_while(|argument| argument != "memory-of").skip(1);
    if let Some(case) = arguments.next().and_then(|case| case.parse().ok()) {
        return verdict(memory::is_within_bound(case, quick));
    }
    let (time, traces) =
        if quick { (Duration::from_millis(300), 2_000) } else { (Duration::from_secs(10), TRACES) };
    println!("{:<58} {:>14} {:>8}", "what", "figure", "ratio");
    let decode = decoding(time / 4);
    row("baseline: prost decodes a 512-span message", spans_a_second(decode), 1.0);
    ingesting(time, decode);
    asking(time, traces);
    ExitCode::SUCCESS
}

/// Spans that prost decodes a second, and drops again.
fn decoding(time: Duration) -> f64 {
    let mut batches = Batches::new();
    let (started, mut spans) = (Instant::now(), 0);
    while started.elapsed() < time {
        let message = batches.next();
        let decoded = ExportTraceServiceRequest::decode(message).unwrap_or_default();
        spans +=
            std::hint::black_box(decoded).resource_spans.len() * spans::IN_A_BATCH / spans::SERVICES.len();
    }
    spans as f64 / started.elapsed().as_secs_f64()
}

fn ingesting(time: Duration, decode: f64) {
    let collector = Collector::start(STORE_BYTES, 1);
    let mut batches = Batches::new();
    let messages: Vec<Bytes> = (0..64).map(|_| batches.next()).collect();
    // The warm-up makes the series and fills the sender's connection.
    collector.send(messages.into_iter(), IN_FLIGHT);
    let (cpu, started) = (collector.cpu(), Instant::now());
    let messages = std::iter::from_fn(|| (started.elapsed() < time).then(|| batches.next()));
    let sent = collector.send(messages, IN_FLIGHT) * spans::IN_A_BATCH;
    let (cpu, wall) = (collector.cpu() - cpu, started.elapsed());
    let rate = sent as f64 / cpu.as_secs_f64();
    row("OTLP/gRPC into store, indexes and histograms", spans_a_second(rate), rate / decode);
    row(
        "  the same by the clock, sender on the same machine",
        spans_a_second(sent as f64 / wall.as_secs_f64()),
        sent as f64 / wall.as_secs_f64() / decode,
    );
}

fn asking(time: Duration, traces: usize) {
    // Full, so that there are as many to search through when more come in.
    let collector = Collector::start(traces * TRACE_BYTES, 2);
    let mut batches = Batches::new();
    let messages = traces * 3 / 2 * spans::IN_A_TRACE / spans::IN_A_BATCH + 1;
    collector.send((0..messages).map(|_| batches.next()), IN_FLIGHT);
    collector.send(hostile::operations(OPERATIONS), IN_FLIGHT);
    let trace = collector.slow_trace();
    let window = "query.startTimeMin=2020-01-01T00:00:00Z&query.startTimeMax=2100-01-01T00:00:00Z";
    let by_tag = |value: &str| {
        format!("/api/v3/trace-summaries?{window}&query.attributes=%7B%22customer.id%22:%22{value}%22%7D")
    };
    let questions = [
        ("a bare request, answered without a look into anything", "/health/live".to_owned()),
        ("search by a tag that one trace has", by_tag(&batches.last_customer())),
        ("search by a tag that no trace has", by_tag("nobody")),
        (
            "search by service and duration",
            format!("/api/v3/trace-summaries?{window}&query.serviceName=booking&query.durationMin=9s"),
        ),
        ("a trace by its id", format!("/api/traces/{trace}")),
        ("the hops table of some hundred operations", "/api/workbench/hops".to_owned()),
        ("the dependency graph", "/api/dependencies?endTs=4102444800000&lookback=4102444800000".to_owned()),
    ];
    println!("\nwith {} traces in the store; ratio to the bare request", collector.traces());
    let idle: Vec<Duration> = questions.iter().map(|(_, path)| collector.ask(path, time / 10)).collect();
    for ((what, _), took) in questions.iter().zip(&idle) {
        row(what, millis(*took), took.as_secs_f64() / idle[0].as_secs_f64());
    }
    let pause = Duration::from_secs(1) * spans::IN_A_BATCH as u32 / SPANS_A_SECOND;
    let (busy, messages) = collector.while_sending(batches, pause, || {
        questions.iter().map(|(_, path)| collector.ask(path, time / 10)).collect::<Vec<_>>()
    });
    let came = messages * spans::IN_A_BATCH as f64;
    println!("\nthe same while {came:.0} spans come in a second; ratio to the same question at rest");
    for ((what, _), (busy, idle)) in questions.iter().zip(busy.iter().zip(&idle)) {
        row(what, millis(*busy), busy.as_secs_f64() / idle.as_secs_f64());
    }
}

fn row(what: &str, figure: impl std::fmt::Display, ratio: f64) {
    println!("{what:<58} {figure:>14} {ratio:>8.2}");
}

fn spans_a_second(rate: f64) -> String {
    format!("{:.0} spans/s", rate)
}

fn millis(took: Duration) -> String {
    format!("{:.3} ms", took.as_secs_f64() * 1e3)
}
