//! Benchmarks ingest and queries; each figure is compared with a baseline from the same run.
//!
//! The collector runs in this process, on threads of its own. Ingest uses one thread, and its rate is per second of
//! that thread's CPU time, so it does not depend on other load. Queries are answered on two threads.
//! `cargo bench -p collector` takes about a minute; `-- --quick` runs each benchmark only briefly, to check that it
//! still works. `-- memory` measures the memory under overload instead, `-- retention` which of a million requests
//! are still stored.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a failed assumption ends the benchmark")]

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
use spans::MessageGenerator;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Large enough for all spans of the ingest benchmark.
const STORE_BYTES: usize = 1 << 30;
/// Number of traces to search.
const TRACES: usize = 100_000;
/// Bytes per trace, including its part of the histograms and of the ids of evicted traces.
const TRACE_BYTES: usize = 5_000;
/// Number of operations beside those of the traces.
const OPERATIONS: usize = 100;
/// Spans per second during the loaded queries.
const SPANS_PER_SECOND: u32 = 150_000;
/// Number of messages in flight.
const IN_FLIGHT: usize = 4;

fn main() -> ExitCode {
    let given = |name: &str| std::env::args().any(|argument| argument == name);
    let quick = given("--quick") || given("--test");
    let verdict = |within| if within { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    if given("memory") {
        return verdict(memory::within_limit(quick));
    }
    if given("retention") {
        return verdict(retention::keeps_what_matters(quick));
    }
    let mut arguments = std::env::args().skip_while(|argument| argument != "memory-of").skip(1);
    if let Some(case) = arguments.next().and_then(|case| case.parse().ok()) {
        return verdict(memory::is_within_limit(case, quick));
    }
    let (time, traces) =
        if quick { (Duration::from_millis(300), 2_000) } else { (Duration::from_secs(10), TRACES) };
    println!("{:<58} {:>14} {:>8}", "benchmark", "figure", "ratio");
    let decode = decode_rate(time / 4);
    row("baseline: prost decodes a 512-span message", spans_per_second(decode), 1.0);
    ingest_benchmark(time, decode);
    query_benchmarks(time, traces);
    ExitCode::SUCCESS
}

/// Returns the number of spans per second that prost decodes.
fn decode_rate(time: Duration) -> f64 {
    let mut batches = MessageGenerator::new();
    let (started, mut spans) = (Instant::now(), 0);
    while started.elapsed() < time {
        let message = batches.next();
        let decoded = ExportTraceServiceRequest::decode(message).unwrap_or_default();
        spans += std::hint::black_box(decoded).resource_spans.len() * spans::SPANS_PER_MESSAGE
            / spans::SERVICES.len();
    }
    spans as f64 / started.elapsed().as_secs_f64()
}

fn ingest_benchmark(time: Duration, decode: f64) {
    let collector = Collector::start(STORE_BYTES, 1);
    let mut batches = MessageGenerator::new();
    let messages: Vec<Bytes> = (0..64).map(|_| batches.next()).collect();
    // Warm-up: creates the series and opens the connection.
    collector.send(messages.into_iter(), IN_FLIGHT);
    let (cpu, started) = (collector.cpu(), Instant::now());
    let messages = std::iter::from_fn(|| (started.elapsed() < time).then(|| batches.next()));
    let sent = collector.send(messages, IN_FLIGHT) * spans::SPANS_PER_MESSAGE;
    let (cpu, wall) = (collector.cpu() - cpu, started.elapsed());
    let rate = sent as f64 / cpu.as_secs_f64();
    row("OTLP/gRPC ingest, per CPU second", spans_per_second(rate), rate / decode);
    row(
        "  per wall-clock second, sender on the same machine",
        spans_per_second(sent as f64 / wall.as_secs_f64()),
        sent as f64 / wall.as_secs_f64() / decode,
    );
}

fn query_benchmarks(time: Duration, traces: usize) {
    // Full, so that the number of traces stays the same during ingest.
    let collector = Collector::start(traces * TRACE_BYTES, 2);
    let mut batches = MessageGenerator::new();
    let messages = traces * 3 / 2 * spans::SPANS_PER_TRACE / spans::SPANS_PER_MESSAGE + 1;
    collector.send((0..messages).map(|_| batches.next()), IN_FLIGHT);
    collector.send(hostile::operations(OPERATIONS), IN_FLIGHT);
    let trace = collector.slow_trace();
    let window = "query.startTimeMin=2020-01-01T00:00:00Z&query.startTimeMax=2100-01-01T00:00:00Z";
    let by_tag = |value: &str| {
        format!("/api/v3/trace-summaries?{window}&query.attributes=%7B%22customer.id%22:%22{value}%22%7D")
    };
    let queries = [
        ("baseline: GET /health/live", "/health/live".to_owned()),
        ("search by a tag of one trace", by_tag(&batches.last_customer())),
        ("search by a tag of no trace", by_tag("nobody")),
        (
            "search by service and duration",
            format!("/api/v3/trace-summaries?{window}&query.serviceName=booking&query.durationMin=9s"),
        ),
        ("trace by id", format!("/api/traces/{trace}")),
        ("hops table with about 100 operations", "/api/workbench/hops".to_owned()),
        ("dependency graph", "/api/dependencies?endTs=4102444800000&lookback=4102444800000".to_owned()),
    ];
    println!("\n{} stored traces, without ingest; ratio to the baseline", collector.traces());
    let idle: Vec<Duration> = queries.iter().map(|(_, path)| collector.query_time(path, time / 10)).collect();
    for ((what, _), took) in queries.iter().zip(&idle) {
        row(what, millis(*took), took.as_secs_f64() / idle[0].as_secs_f64());
    }
    let pause = Duration::from_secs(1) * spans::SPANS_PER_MESSAGE as u32 / SPANS_PER_SECOND;
    let (busy, messages) = collector.while_sending(batches, pause, || {
        queries.iter().map(|(_, path)| collector.query_time(path, time / 10)).collect::<Vec<_>>()
    });
    let received = messages * spans::SPANS_PER_MESSAGE as f64;
    println!("\nduring ingest of {received:.0} spans/s; ratio to the same query without ingest");
    for ((what, _), (busy, idle)) in queries.iter().zip(busy.iter().zip(&idle)) {
        row(what, millis(*busy), busy.as_secs_f64() / idle.as_secs_f64());
    }
}

fn row(what: &str, figure: impl std::fmt::Display, ratio: f64) {
    println!("{what:<58} {figure:>14} {ratio:>8.2}");
}

fn spans_per_second(rate: f64) -> String {
    format!("{:.0} spans/s", rate)
}

fn millis(took: Duration) -> String {
    format!("{:.3} ms", took.as_secs_f64() * 1e3)
}
