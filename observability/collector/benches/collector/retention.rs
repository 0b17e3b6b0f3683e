//! Which of a million requests are still stored when the store is full: all of 100 errors and 100 slowest requests,
//! and a uniform sample with the same distribution of latencies.

use bytes::Bytes;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status};
use prost::Message as _;
use serde_json::{Value, json};

use super::running::Collector;

const LIMIT: usize = 64 << 20;
const REQUESTS: u64 = 1_000_000;
const PLANTED: u64 = 100;
const PER_MESSAGE: u64 = 256;
const START_NS: u64 = 1_795_455_811_000_000_000;

/// Critical value of the Kolmogorov-Smirnov statistic times the root of the sample size, at significance 0.001.
/// Source: Smirnov, "Table for estimating the goodness of fit of empirical distributions", 1948.
const CRITICAL: f64 = 1.95;

/// Sends the requests, queries which are stored, and prints the result.
pub(crate) fn keeps_what_matters(quick: bool) -> bool {
    let requests = if quick { REQUESTS / 20 } else { REQUESTS };
    let collector = Collector::start(if quick { LIMIT / 20 } else { LIMIT }, 2);
    let messages = (0..requests.div_ceil(PER_MESSAGE))
        .map(|message| self::message(message * PER_MESSAGE..(message + 1) * PER_MESSAGE, requests));
    collector.send(messages, 4);

    let ids = |which: &dyn Fn(u64) -> bool| -> Vec<String> {
        (0..requests).filter(|number| which(*number)).map(hex).collect()
    };
    let complete = |ids: &[String]| -> u64 {
        let asked =
            ids.chunks(10_000).map(|ids| collector.post("/api/workbench/ledger", &json!({ "traces": ids })));
        asked.map(|ledger| ledger["complete"].as_u64().unwrap()).sum()
    };
    let (errors, slowest) =
        (complete(&ids(&|n| fails(n, requests))), complete(&ids(&|n| is_slow(n, requests))));
    let all = complete(&ids(&|_| true));
    println!("{requests} requests, store of {} MiB: {all} stored", LIMIT >> 20);
    println!("  stored: {errors} of {PLANTED} errors, {slowest} of the {PLANTED} slowest");

    let retention = collector.get("/api/workbench/retention");
    for (class, kept) in retention["classes"].as_object().unwrap() {
        println!(
            "  {class:>8} {:>7} traces, {:>5} KiB",
            kept["traces"],
            kept["bytes"].as_u64().unwrap() >> 10
        );
    }
    let sample = retention["sample"]["traces"].as_array().unwrap();
    let distance = distance(sample, requests);
    let limit = CRITICAL / (sample.len() as f64).sqrt();
    println!(
        "  Kolmogorov-Smirnov distance of the sample of {} traces: {distance:.4} (limit {limit:.4})",
        sample.len()
    );
    errors == PLANTED && slowest == PLANTED && all < requests && distance < limit
}

/// Returns the Kolmogorov-Smirnov statistic of the sample's latencies against all latencies.
fn distance(sample: &[Value], requests: u64) -> f64 {
    let rank = |id: &Value| u128::from_str_radix(id.as_str().unwrap(), 16).unwrap() as u64 - 1;
    let mut latencies: Vec<u64> = sample.iter().map(|id| duration_ns(rank(id), requests)).collect();
    let mut all: Vec<u64> = (0..requests).map(|number| duration_ns(number, requests)).collect();
    latencies.sort_unstable();
    all.sort_unstable();
    let size = latencies.len() as f64;
    let gaps = latencies.iter().enumerate().map(|(index, latency)| {
        let below = all.partition_point(|other| other <= latency) as f64 / requests as f64;
        (below - index as f64 / size).abs().max((below - (index + 1) as f64 / size).abs())
    });
    gaps.fold(0.0, f64::max)
}

/// Evenly distributed over the run.
fn fails(number: u64, requests: u64) -> bool {
    number % (requests / PLANTED) == 7
}

fn is_slow(number: u64, requests: u64) -> bool {
    number % (requests / PLANTED) == 11
}

/// A few milliseconds with a long tail; the slow requests are beyond it.
fn duration_ns(number: u64, requests: u64) -> u64 {
    if is_slow(number, requests) {
        return 1_000_000_000 + number;
    }
    let uniform = (mix(number) >> 11) as f64 / (1_u64 << 53) as f64;
    // Exponential, and far below a second.
    ((1.0 - uniform).ln() * -20e6) as u64 + 1_000_000
}

fn mix(number: u64) -> u64 {
    let mixed = (number + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (mixed ^ mixed >> 29).wrapping_mul(0xbf58_476d_1ce4_e5b9)
}

fn hex(number: u64) -> String {
    format!("{:032x}", id(number))
}

fn id(number: u64) -> u128 {
    u128::from(mix(number)) << 64 | u128::from(number + 1)
}

/// Encodes two spans per request.
fn message(numbers: std::ops::Range<u64>, requests: u64) -> Bytes {
    let spans = numbers.filter(|number| *number < requests).flat_map(|number| {
        let status = fails(number, requests).then(|| Status { code: 2, ..Status::default() });
        let root = Span {
            trace_id: id(number).to_be_bytes().to_vec(),
            span_id: (number + 1).to_be_bytes().to_vec(),
            name: "GET /search".to_owned(),
            kind: 2,
            start_time_unix_nano: START_NS,
            end_time_unix_nano: START_NS + duration_ns(number, requests),
            status,
            ..Span::default()
        };
        let child = Span {
            parent_span_id: root.span_id.clone(),
            span_id: (number + 1 + requests).to_be_bytes().to_vec(),
            name: "SELECT tutors".to_owned(),
            kind: 3,
            end_time_unix_nano: START_NS + 500_000 + mix(number) % 100_000,
            status: None,
            ..root.clone()
        };
        [child, root]
    });
    let scope_spans = vec![ScopeSpans { spans: spans.collect(), ..ScopeSpans::default() }];
    let resource_spans = vec![ResourceSpans { scope_spans, ..ResourceSpans::default() }];
    ExportTraceServiceRequest { resource_spans }.encode_to_vec().into()
}
