use std::sync::Arc;
use std::time::Duration;

use collector::trace::{Attribute, Kind, Resource, Span, SpanId, Value};
use telemetry::contract;

use super::*;
use crate::measure::Outcome;

fn attribute_of(key: &str, value: &str) -> Attribute {
    Attribute { key: key.into(), value: Value::String(value.into()) }
}

fn span(id: u64, parent: Option<u64>, service: &str, name: &str, kind: Kind, times: (u64, u64)) -> Span {
    let resource =
        Resource { attributes: vec![attribute_of("service.name", service)], ..Resource::default() };
    Span {
        trace_id: TraceId(1),
        span_id: SpanId(id),
        parent: parent.map(SpanId),
        name: name.into(),
        kind,
        start_ns: times.0,
        end_ns: times.1,
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

/// 1000 ns in total: 100 late, 800 in the trace, 100 in no span.
fn trace() -> Trace {
    let mut query = span(5, Some(4), "search_service", "SELECT tutors", Kind::Client, (400, 600));
    query.attributes.push(attribute_of("db.system.name", "postgresql"));
    let mut wait = span(6, Some(4), "search_service", "wait pool", Kind::Internal, (300, 400));
    wait.attributes.push(Attribute { key: contract::WAIT.into(), value: Value::Bool(true) });
    Trace {
        spans: vec![
            span(1, None, "loadtest", "GET /search", Kind::Client, (100, 900)),
            span(2, Some(1), "load_balancer", "GET /search", Kind::Server, (150, 850)),
            span(3, Some(2), "load_balancer", "GET /search", Kind::Client, (160, 840)),
            span(4, Some(3), "search_service", "GET /search", Kind::Server, (200, 800)),
            query,
            wait,
        ],
    }
}

fn sample(trace: u128, latency_ns: u64, late_ns: u64) -> Sample {
    let bare = crate::measure::sample(RequestKind::Search, Duration::ZERO, latency_ns);
    Sample { late_ns, service_ns: latency_ns - late_ns, trace: TraceId(trace), ..bare }
}

fn share(blame: &Blame, hop: &str, kind: ShareKind) -> f64 {
    blame.shares.iter().find(|share| share.hop == hop && share.kind == kind).map_or(0.0, |share| share.share)
}

#[test]
fn separates_work_wait_and_transit_which_sum_to_the_latency() {
    let measured = Measured { samples: vec![sample(1, 1000, 100)], ..Measured::default() };
    let bands = bands(&measured);
    let blame = blame(&bands[0], &HashMap::from([(TraceId(1), trace())]));
    let expected = [
        ("generator", ShareKind::Wait, 0.10),
        ("loadtest → load_balancer", ShareKind::Transit, 0.10),
        ("load_balancer", ShareKind::Work, 0.02),
        ("load_balancer → search_service", ShareKind::Transit, 0.08),
        ("search_service", ShareKind::Work, 0.30),
        ("search_service", ShareKind::Wait, 0.10),
        ("database", ShareKind::Work, 0.20),
        ("unattributed", ShareKind::Unattributed, 0.10),
    ];
    for (hop, kind, expected) in expected {
        assert!((share(&blame, hop, kind) - expected).abs() < 1e-9, "{hop} {kind:?}: {blame:?}");
    }
    assert_eq!(blame.shares.len(), expected.len(), "{blame:?}");
    assert!((blame.shares.iter().map(|share| share.share).sum::<f64>() - 1.0).abs() < 1e-9);
}

#[test]
fn a_request_without_its_trace_is_unattributed_except_for_its_lateness() {
    let measured = Measured { samples: vec![sample(1, 1000, 250)], ..Measured::default() };
    let blame = blame(&bands(&measured)[0], &HashMap::new());
    assert_eq!((blame.traces, share(&blame, "unattributed", ShareKind::Unattributed)), (0, 0.75));
    let mut headless = trace();
    headless.spans.remove(0);
    let blame = super::blame(&bands(&measured)[0], &HashMap::from([(TraceId(1), headless)]));
    assert_eq!(share(&blame, "unattributed", ShareKind::Unattributed), 0.75, "its root is not the request");
}

#[test]
fn a_band_contains_its_percentile_but_not_the_next() {
    let samples = (1..=10_000).map(|n| sample(n, n as u64 * 1000, 0)).collect();
    let measured = Measured { samples, ..Measured::default() };
    let bands = bands(&measured);
    assert_eq!(bands.len(), 2 * PERCENTILES.len(), "for all requests, and for the one kind");
    for (band, (middle, size)) in bands.iter().zip([(5000, 51), (9000, 51), (9900, 51), (9990, 5)]) {
        assert_eq!(band.latency_ns, middle * 1000);
        assert_eq!(band.samples.len(), size);
        assert_eq!(band.middle().unwrap().latency_ns, middle * 1000);
    }
}

#[test]
fn without_requests_there_are_no_bands_and_one_request_is_in_every_band() {
    assert!(bands(&Measured::default()).is_empty());
    let measured = Measured { samples: vec![sample(1, 1000, 0)], ..Measured::default() };
    assert!(bands(&measured).iter().all(|band| band.samples.len() == 1));
}

#[test]
fn waiting_for_earlier_replies_is_a_hop_of_its_own() {
    for (delay_cause, hop) in [
        (DelayCause::PreviousReply, "previous reply of the journey"),
        (DelayCause::BusyUsers, "replies to earlier journeys"),
    ] {
        let late = Sample { delay_cause, blocked_ns: 300, ..sample(1, 1000, 400) };
        let measured = Measured { samples: vec![late], ..Measured::default() };
        let blame = blame(&bands(&measured)[0], &HashMap::new());
        assert_eq!(share(&blame, hop, ShareKind::Wait), 0.3, "{blame:?}");
        assert_eq!(share(&blame, "generator", ShareKind::Wait), 0.1, "sent late after the reply: {blame:?}");
    }
}

#[test]
fn bands_consist_of_verified_replies_and_the_slow_example_is_a_users() {
    let slow = |trace, by_intruder, outcome| Sample { by_intruder, outcome, ..sample(trace, 9_000_000, 0) };
    let mut samples: Vec<Sample> = (1..=10).map(|n| sample(n, 1000, 0)).collect();
    samples.extend([
        slow(11, true, Outcome::Verified),
        slow(12, false, Outcome::Failed),
        slow(13, false, Outcome::Wrong),
    ]);
    let measured = Measured { samples, ..Measured::default() };
    assert_eq!(bands(&measured)[2].traces().collect::<Vec<_>>(), [TraceId(11)], "the verified maximum");
    let slow = slow_users(&measured).unwrap();
    assert_eq!((slow.latency_ns, slow.middle().unwrap().trace), (1000, TraceId(10)));
    let none = Measured { samples: vec![slow_sample_of_an_intruder()], ..Measured::default() };
    assert!(slow_users(&none).is_none());
}

fn slow_sample_of_an_intruder() -> Sample {
    Sample { by_intruder: true, ..sample(1, 9_000_000, 0) }
}
