use std::sync::Arc;

use super::*;
use crate::fixture::{attribute, span as bare_span};
use crate::trace::{Resource, Value};

const MS: u64 = 1_000_000;

fn span(ids: (u64, u64), service: &str, instance: &str, kind: Kind, times: (u64, u64)) -> Span {
    let text = |key: &str, value: &str| attribute(key, Value::String(value.to_owned()));
    let attributes = vec![text("service.name", service), text("service.instance.id", instance)];
    let resource = Resource { attributes, ..Resource::default() };
    Span { kind, resource: Arc::new(resource), ..bare_span((ids.0, ids.1, times.0, times.1)) }
}

/// A call that takes 100 µs to the server and 60 µs back, to a server whose clock is ahead by `ahead_us`.
fn call(start_ns: u64, work_ns: u64, ahead_us: i64) -> Trace {
    let server = start_ns.saturating_add_signed(ahead_us * 1000) + 100_000;
    Trace {
        spans: vec![
            span((1, 0), "shop", "shop", Kind::Client, (start_ns, start_ns + 160_000 + work_ns)),
            span((2, 1), "cart", "cart_1", Kind::Server, (server, server + work_ns)),
        ],
    }
}

#[test]
fn estimates_the_offset_of_the_servers_clock_within_its_uncertainty() {
    for ahead_us in [-5000, 0, 5000] {
        let traces: Vec<Trace> = (1..20).map(|n| call(n * 100 * MS, n * 10_000, ahead_us)).collect();
        let skews = clock_skews(&traces);
        let [skew] = skews.as_slice() else { panic!("{skews:?}") };
        assert_eq!((skew.client.as_str(), skew.server.as_str(), skew.calls), ("shop", "cart_1", 19));
        assert!((skew.skew_us - ahead_us as f64).abs() <= skew.uncertainty_us, "{skew:?}");
        assert!((skew.uncertainty_us - 80.0).abs() < 0.01, "half of the time on the way: {skew:?}");
        assert_eq!(skew.certain_us() > 0.0, ahead_us != 0, "{skew:?}");
    }
}

#[test]
fn follows_the_majority_of_the_calls() {
    let mut traces: Vec<Trace> = (1..20).map(|n| call(n * 100 * MS, MS, 300)).collect();
    // A server span that was closed 1 ms late.
    let mut late = call(5000 * MS, MS, 300);
    late.spans[1].end_ns += MS;
    traces.push(late);
    // Two spans that were both closed late.
    let mut both = call(6000 * MS, MS, 300);
    both.spans.iter_mut().for_each(|span| span.end_ns += 40 * MS);
    traces.push(both);
    // A call before the clock was set.
    traces.push(call(7000 * MS, MS, 9000));
    let skew = &clock_skews(&traces)[0];
    assert!((skew.skew_us - 300.0).abs() <= skew.uncertainty_us && skew.uncertainty_us < 81.0, "{skew:?}");
}

#[test]
fn calls_without_one_server_span_of_another_process_are_ignored() {
    let mut two_servers = call(MS, MS, 9000);
    two_servers.spans.push(span((3, 1), "cart", "cart_2", Kind::Server, (MS, 2 * MS)));
    let mut same_process = call(MS, MS, 9000);
    same_process.spans[1].resource = Arc::clone(&same_process.spans[0].resource);
    let mut not_a_server = call(MS, MS, 9000);
    not_a_server.spans[1].kind = Kind::Consumer;
    assert_eq!(clock_skews(&[two_servers, same_process, not_a_server]), []);
}

#[test]
fn the_largest_certain_skew_comes_first() {
    let mut far = call(MS, MS, 700);
    for (span, service) in far.spans.iter_mut().zip(["cart", "stock"]) {
        let service = attribute("service.name", Value::String(service.to_owned()));
        span.resource = Arc::new(Resource { attributes: vec![service], ..Resource::default() });
    }
    let skews = clock_skews(&[call(MS, MS, -20), far]);
    let servers: Vec<&str> = skews.iter().map(|skew| skew.server.as_str()).collect();
    assert_eq!(servers, ["stock", "cart_1"], "{skews:?}");
}

#[test]
fn client_and_server_spans_that_share_an_id_are_a_call() {
    let mut shared = call(MS, MS, 300);
    (shared.spans[1].span_id, shared.spans[1].parent) = (shared.spans[0].span_id, None);
    let skews = clock_skews(&[shared]);
    assert_eq!(skews, clock_skews(&[call(MS, MS, 300)]));
    assert_eq!(skews[0].calls, 1);
}
