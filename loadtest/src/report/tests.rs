use std::path::PathBuf;
use std::sync::Arc;

use collector::trace::{Attribute, Kind, Resource, Span, SpanId, Trace, TraceId, Value};

use super::html::Curve;
use super::*;
use crate::bundle::Bundle;
use crate::bundle::schema::sample;

fn bundle() -> Bundle {
    Bundle { folder: PathBuf::new(), run: sample(), slow: None }
}

/// [`bundle`] with the trace of a slow request: a search that waits for a connection, then queries the database.
fn with_slow_trace() -> Bundle {
    let spans = vec![
        span(1, None, "loadtest", "GET /search", Kind::Client, (0, 3000)),
        span(2, Some(1), "search_service", "GET /search", Kind::Server, (100, 2900)),
        span(3, Some(2), "search_service", "wait pool", Kind::Internal, (200, 1200)),
        span(4, Some(2), "search_service", "SELECT tutors", Kind::Client, (1300, 2800)),
    ];
    let trace_id = spans[0].trace_id;
    let mut bundle = Bundle { slow: Some(Trace { spans }), ..bundle() };
    bundle.run.slow_trace = Some(trace_id);
    bundle
}

/// Start of the traces. A start of 0 would be an unset one.
const START_NS: u64 = 1_795_455_811_000_000_000;

/// A span with its start and end in microseconds since the start of the trace.
fn span(
    id: u64,
    parent: Option<u64>,
    service: &str,
    name: &str,
    kind: Kind,
    (start, end): (u64, u64),
) -> Span {
    let service_name = Attribute { key: "service.name".into(), value: Value::String(service.into()) };
    let resource = Resource { attributes: vec![service_name], ..Resource::default() };
    Span {
        trace_id: TraceId(9),
        span_id: SpanId(id),
        parent: parent.map(SpanId),
        name: name.into(),
        kind,
        start_ns: START_NS + start * 1000,
        end_ns: START_NS + end * 1000,
        attributes: Vec::new(),
        events: Vec::new(),
        links: Vec::new(),
        status: Default::default(),
        unknown_kind: 0,
        trace_state: String::new(),
        flags: 1,
        dropped: [0; 3],
        resource: Arc::new(resource),
        scope: Arc::default(),
    }
}

#[test]
fn only_exact_shares_are_shown_as_0_or_100_percent() {
    assert_eq!(percent(1.0), "100.0 %");
    assert_eq!(percent(0.99999), "99.9 %");
    assert_eq!(percent(0.0), "0.0 %");
    assert_eq!(percent(0.00001), "0.1 %");
    assert_eq!(percent(0.4321), "43.2 %");
}

#[test]
fn text_report_matches_the_snapshot() {
    insta::assert_snapshot!("text_report", text(&with_slow_trace()));
}

#[test]
fn the_waterfall_labels_the_time_in_a_queue_and_ignores_spans_without_a_start() {
    let mut spans = vec![
        span(1, None, "booking_service", "POST /book", Kind::Server, (1_000, 21_000)),
        span(2, Some(1), "booking_service", "send notifications", Kind::Producer, (2_000, 20_000)),
        span(
            3,
            Some(2),
            "notification_service",
            "process notifications",
            Kind::Consumer,
            (30_000_000, 30_012_000),
        ),
        span(4, Some(1), "cache", "POST /delete", Kind::Server, (0, 1_000)),
    ];
    (spans[3].start_ns, spans[3].end_ns) = (0, 1_000);
    let mut bundle = bundle();
    bundle.run.slow_trace = Some(spans[0].trace_id);
    bundle.slow = Some(Trace { spans });
    let text = text(&bundle);
    let line = |name: &str| text.lines().find(|line| line.contains(name)).unwrap();
    let consumer = line("process notifications");
    assert!(consumer.contains("·····") && consumer.ends_with("waiting in queue 30.0 s"), "{consumer}");
    assert!(line("booking_service POST /book").contains("  █ "), "20 ms of 30 s are visible: {text}");
    assert!(html(&bundle, &[]).contains("(waiting in queue 30.0 s)"));
}

#[test]
fn html_report_is_self_contained_and_escapes_text() {
    let curve = Curve { name: "GET /search", points: vec![(1.0, 1.0), (2.0, 2.0)] };
    let page = html(&bundle(), &[curve]);
    assert!(page.contains("expected &lt;b&gt;Alice&lt;/b&gt;") && !page.contains("<b>Alice"));
    for external in ["<script src", "<link", "<img", "@import"] {
        assert!(!page.split("<h1>").last().unwrap().contains(external), "{external}");
        assert!(!page.split("<script").next().unwrap().contains(external), "{external}");
    }
    assert!(page.contains("Plotly.newPlot(\"percentiles\"") && page.contains("Plotly.newPlot(\"blame\""));
    assert!(!page.contains("MathJax.loader"), "MathJax would add 2 MB that no plot needs");
}

#[test]
fn shares_its_palette_with_the_pages_of_the_collector() {
    let pages = concat!(env!("CARGO_MANIFEST_DIR"), "/../observability/collector/src/pages/style.css");
    let pages = std::fs::read_to_string(pages).unwrap();
    let property = |line: &'static str| line.trim().starts_with("--").then(|| line.trim());
    let ours: Vec<&str> = include_str!("report.css").lines().filter_map(property).collect();
    assert_eq!(ours.len(), 5);
    for property in ours {
        assert!(pages.contains(property), "{property}");
    }
}

#[test]
fn a_run_that_was_interrupted_says_so_last() {
    let mut bundle = bundle();
    bundle.run.interrupted = true;
    bundle.folder = PathBuf::from("runs/one");
    let report = text(&bundle);
    let last = report.lines().last().unwrap();
    assert!(last.starts_with("INTERRUPTED after 20.0 s: 8 of 8 requests were sent, 1 wrong"), "{last}");
    assert!(
        last.ends_with("the run has neither passed nor failed") && !report.contains("FAILED  "),
        "{report}"
    );
    assert!(report.contains("\nbundle: runs/one\n"), "{report}");
    assert!(html(&bundle, &[]).contains("INTERRUPTED after 20.0 s"));
}

#[test]
fn nothing_measured_is_no_zero() {
    let mut bundle = bundle();
    bundle.run.requests[2].latency_us = None;
    bundle.run.bookings.commit_to_notified_us = None;
    (bundle.run.bookings.notified, bundle.run.bookings.unknown) = (0, 1);
    for report in [text(&bundle), html(&bundle, &[])] {
        assert!(!report.contains("0 s<") && !report.contains("p50 0 s"), "{report}");
    }
    let report = text(&bundle);
    assert!(
        report.contains("0 lost, 1 unknown, 1 double-booked; commit to notified p50 -, p99 -"),
        "{report}"
    );
    assert!(report.contains("     1        -        -        -        -        -\n"), "{report}");
}

#[test]
fn an_objective_shows_its_unit_and_the_requests_without_a_verified_reply() {
    let slo = |value, verified_value, unverified| SloResult {
        expression: "p99<20ms".into(),
        value,
        unit: "ms".into(),
        verified_value,
        requests: 130,
        unverified,
        met: false,
    };
    assert_eq!(slo_value(&slo(Some(21.5), Some(21.5), 0)), "21.500 ms");
    assert_eq!(
        slo_value(&slo(None, Some(1.25), 106)),
        "∞: 106 of 130 requests have no verified reply; 1.250 ms over the others"
    );
    assert_eq!(
        slo_value(&slo(Some(3.0), Some(2.0), 1)),
        "3.000 ms; 1 of 130 requests have no verified reply"
    );
    assert_eq!(slo_value(&slo(None, None, 0)), "nothing measured");
}

#[test]
fn intended_refusals_are_not_shown_as_failures() {
    let mut bundle = with_slow_trace();
    let trace = bundle.slow.as_mut().unwrap();
    trace.spans[1].status.code = collector::trace::StatusCode::Error;
    assert!(text(&bundle).contains(" failed\n"));
    let intended = Attribute { key: telemetry::contract::INTENDED_REFUSAL.into(), value: Value::Bool(true) };
    bundle.slow.as_mut().unwrap().spans[0].attributes.push(intended);
    let report = text(&bundle);
    assert!(report.contains("refused as intended\n") && !report.contains(" failed\n"), "{report}");
}
