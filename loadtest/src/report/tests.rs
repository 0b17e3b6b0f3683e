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

/// A span with its start and end in microseconds.
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
        start_ns: start * 1000,
        end_ns: end * 1000,
        attributes: Vec::new(),
        events: Vec::new(),
        links: Vec::new(),
        status: Default::default(),
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
