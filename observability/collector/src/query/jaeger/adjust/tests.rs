use std::sync::Arc;

use super::*;
use crate::fixture::{attribute, span};
use crate::trace::{Attribute, Event, Kind, Link, Resource, Span, SpanId, TraceId, Value};

const MILLISECOND: u64 = 1_000_000;

fn adjusted(spans: Vec<Span>) -> Trace {
    Adjuster::default().answer(Trace { spans: spans.into_iter().map(named).collect() }, false)
}

/// Gives a span without a service one, so that it needs no placeholder.
fn named(span: Span) -> Span {
    if span.resource.attributes.is_empty() { Span { resource: resource(&[]), ..span } } else { span }
}

fn resource(attributes: &[(&str, &str)]) -> Arc<Resource> {
    let attributes = [("service.name", "shop")].iter().chain(attributes);
    Arc::new(Resource {
        attributes: attributes.map(|(key, value)| text(key, value)).collect(),
        ..Resource::default()
    })
}

fn text(key: &str, value: &str) -> Attribute {
    attribute(key, Value::String(value.to_owned()))
}

fn keys(attributes: &[Attribute]) -> Vec<&str> {
    attributes.iter().map(|attribute| attribute.key.as_str()).collect()
}

fn warnings(span: &Span) -> Vec<&str> {
    match span.attribute(WARNINGS) {
        Some(Value::Array(list)) => list.iter().map(|warning| warning.as_str().unwrap()).collect(),
        none => {
            assert_eq!(none, None);
            Vec::new()
        }
    }
}

fn link(trace_id: Option<TraceId>) -> Link {
    Link {
        trace_id,
        span_id: None,
        trace_state: String::new(),
        attributes: Vec::new(),
        dropped_attributes: 0,
        flags: 0,
    }
}

#[test]
fn sorts_attributes_and_events_and_keeps_resources_shared() {
    let unsorted = vec![attribute("b", Value::Bool(true)), attribute("a", Value::Bool(true))];
    let shared = Arc::new(Resource {
        attributes: vec![text("service.name", "shop"), attribute("b", Value::Int(1))],
        ..Resource::default()
    });
    let event = |time_ns| Event { time_ns, attributes: unsorted.clone(), ..Event::default() };
    let link = |trace_id| Link { attributes: unsorted.clone(), ..link(trace_id) };
    let unadjusted = |id| Span {
        attributes: unsorted.clone(),
        events: vec![event(2), event(1)],
        links: vec![link(None), link(Some(TraceId(7)))],
        resource: Arc::clone(&shared),
        ..span((id, 0, 0, 1))
    };
    let trace = adjusted(vec![unadjusted(1), unadjusted(2)]);
    let [first, second] = &trace.spans[..] else { panic!("{trace:?}") };
    assert_eq!(keys(&first.attributes), ["a", "b", WARNINGS]);
    assert_eq!(keys(&first.resource.attributes), ["b", "service.name"]);
    assert_eq!(first.events.iter().map(|event| event.time_ns).collect::<Vec<_>>(), [1, 2]);
    assert_eq!(keys(&first.events[0].attributes), ["a", "b"]);
    assert_eq!(first.links.len(), 1, "the link without a trace id is removed");
    assert_eq!(keys(&first.links[0].attributes), ["a", "b"]);
    assert_eq!(warnings(first), ["Invalid span link removed"]);
    assert!(Arc::ptr_eq(&first.resource, &second.resource));
}

#[test]
fn removes_duplicate_spans_but_keeps_different_spans_with_the_same_id() {
    let other = Span { name: "other".to_owned(), ..span((1, 0, 0, 1)) };
    let elsewhere = Span { resource: resource(&[("a", "b")]), ..span((1, 0, 0, 1)) };
    let trace = adjusted(vec![span((1, 0, 0, 1)), other, span((1, 0, 0, 1)), elsewhere, span((2, 0, 0, 1))]);
    let ids: Vec<_> =
        trace.spans.iter().map(|span| (span.span_id.0, span.name.as_str(), warnings(span))).collect();
    let duplicate = "duplicate span IDs; skipping clock skew adjustment";
    assert_eq!(
        ids,
        [
            (1, "operation 1", vec![]),
            (1, "other", vec![duplicate]),
            (1, "operation 1", vec![duplicate]),
            (2, "operation 2", vec![]),
        ]
    );
}

#[test]
fn adjusts_a_hundred_thousand_spans_with_the_same_id_or_of_one_chain() {
    let of_one_id = adjusted((0..100_000).map(|number| span((1, 0, number, number + 1))).collect());
    assert_eq!(of_one_id.spans.len(), 100_000);
    let chain = adjusted((1..=100_000).map(|id| span((id, id - 1, 0, 1))).collect());
    assert_eq!(chain.spans.iter().flat_map(warnings).count(), 0);
}

#[test]
fn names_services_and_operations_without_a_name_in_raw_answers_as_well() {
    let of = |attributes| {
        let resource = Arc::new(Resource { attributes, ..Resource::default() });
        Span { name: String::new(), resource, ..span((1, 0, 0, 1)) }
    };
    for (attributes, service) in [
        (vec![], "missing-service-name"),
        (vec![text("service.name", "")], "empty-service-name"),
        (vec![attribute("service.name", Value::Int(7))], "service-name-wrong-type"),
        (vec![attribute("service.name", Value::Empty)], "service-name-wrong-type"),
        (vec![text("service.name", "shop")], "shop"),
    ] {
        for raw in [true, false] {
            let trace = Adjuster::default().answer(Trace { spans: vec![of(attributes.clone())] }, raw);
            let [span] = &trace.spans[..] else { panic!("{trace:?}") };
            assert_eq!(span.name, "empty-span-name");
            assert_eq!(span.resource.attributes, [text("service.name", service)]);
        }
    }
}

#[test]
fn a_span_that_ends_no_later_than_it_starts_ends_after_1_ns_with_a_warning() {
    let start = 1_795_672_000_065_556_253;
    let since_1970 = "1970-01-01 00:00:00 +0000 UTC";
    for (start, end, original, end_text) in [
        (
            start,
            start - 5 * MILLISECOND,
            "2026-11-26 05:46:40.060556253 +0000 UTC",
            "2026-11-26 05:46:40.065556254 +0000 UTC",
        ),
        (start, 0, since_1970, "2026-11-26 05:46:40.065556254 +0000 UTC"),
        (start, start, "2026-11-26 05:46:40.065556253 +0000 UTC", "2026-11-26 05:46:40.065556254 +0000 UTC"),
        (0, 0, since_1970, "1970-01-01 00:00:00.000000001 +0000 UTC"),
        (
            start,
            u64::MAX,
            "1969-12-31 23:59:59.999999999 +0000 UTC",
            "2026-11-26 05:46:40.065556254 +0000 UTC",
        ),
    ] {
        for raw in [true, false] {
            let trace = Adjuster::default().answer(Trace { spans: vec![span((1, 0, start, end))] }, raw);
            assert_eq!(trace.spans[0].end_ns, start + 1);
            let expected = format!(
                "Negative duration detected, sanitizing end timestamp. Original end timestamp: {original}, adjusted to: {end_text}"
            );
            assert_eq!(warnings(&trace.spans[0]), [expected]);
        }
    }
    assert_eq!(warnings(&adjusted(vec![span((1, 0, 5, 6))]).spans[0]), [""; 0]);
}

#[test]
fn writes_numeric_addresses_as_text() {
    let addresses = vec![
        attribute("ip", Value::Int(0x0808_0404)),
        attribute("peer.ipv4", Value::Double(16_909_060.0)),
        attribute("port", Value::Int(80)),
    ];
    let trace = adjusted(vec![Span { attributes: addresses, ..span((1, 0, 0, 1)) }]);
    let expected = [text("ip", "8.8.4.4"), text("peer.ipv4", "1.2.3.4"), attribute("port", Value::Int(80))];
    assert_eq!(trace.spans[0].attributes, expected);
}

#[test]
fn moves_attributes_of_the_library_to_the_resource_unless_they_conflict() {
    let from = [("telemetry.sdk.language", "go"), ("telemetry.sdk.name", "otel")];
    let spans = ["go", "rust"].into_iter().zip(1..).map(|(language, id)| Span {
        attributes: vec![
            text("a", "b"),
            text("telemetry.sdk.language", language),
            text("telemetry.sdk.version", "1"),
        ],
        resource: resource(&from),
        ..span((id, 0, 0, 1))
    });
    let trace = adjusted(spans.collect());
    let [same, other] = &trace.spans[..] else { panic!("{trace:?}") };
    assert_eq!(same.attributes, [text("a", "b")]);
    let all = ["service.name", "telemetry.sdk.language", "telemetry.sdk.name", "telemetry.sdk.version"];
    assert_eq!(keys(&same.resource.attributes), all);
    assert_eq!(keys(&other.resource.attributes), all);
    assert_eq!(other.attributes[1], text("telemetry.sdk.language", "rust"));
    let conflict = "conflicting values between Span and Resource for attribute telemetry.sdk.language";
    assert_eq!(warnings(other), [conflict]);
}

/// A parent and its child on the given hosts, with the child's start and end in milliseconds. The parent takes 10 ms.
fn call(hosts: [&str; 2], start_ms: u64, end_ms: u64) -> Vec<Span> {
    let of = |host: &str, span: Span| match host {
        "" => named(span),
        host => Span { resource: resource(&[("host.name", host)]), ..span },
    };
    let event = Event { time_ns: start_ms * MILLISECOND, ..Event::default() };
    let child = Span { events: vec![event], ..span((2, 1, start_ms * MILLISECOND, end_ms * MILLISECOND)) };
    vec![of(hosts[0], span((1, 0, 100 * MILLISECOND, 110 * MILLISECOND))), of(hosts[1], child)]
}

#[test]
fn warns_of_skewed_clocks_unless_both_spans_are_of_one_host() {
    for (hosts, start_ms, end_ms, delta) in [
        (["a", "b"], 101, 109, None),
        (["a", "b"], 94, 98, Some("9ms")),
        (["", ""], 94, 98, Some("9ms")),
        (["a", ""], 107, 111, Some("-4ms")),
        (["a", "a"], 94, 98, None),
        (["a", "b"], 90, 120, Some("10ms")),
        (["a", "b"], 100, 120, None),
    ] {
        let trace = adjusted(call(hosts, start_ms, end_ms));
        let expected = delta
            .map(|delta| format!("clock skew adjustment disabled; not applying calculated delta of {delta}"));
        assert_eq!(warnings(&trace.spans[1]), expected.as_slice(), "{hosts:?} {start_ms} {end_ms}");
        assert_eq!(trace.spans[1].start_ns, start_ms * MILLISECOND);
        assert_eq!(warnings(&trace.spans[0]), [""; 0]);
    }
}

#[test]
fn corrects_clocks_up_to_the_limit_with_all_descendants_on_the_host() {
    let mut spans = call(["a", "b"], 94, 98);
    let below =
        Span { resource: Arc::clone(&spans[1].resource), ..span((3, 2, 95 * MILLISECOND, 96 * MILLISECOND)) };
    spans.push(below);
    let skewed =
        |max_ms| Adjuster::new(Duration::from_millis(max_ms)).answer(Trace { spans: spans.clone() }, false);
    let trace = skewed(9);
    let times: Vec<_> =
        trace.spans.iter().map(|span| (span.start_ns / MILLISECOND, span.end_ns / MILLISECOND)).collect();
    assert_eq!(times, [(100, 110), (103, 107), (104, 105)]);
    assert_eq!(trace.spans[1].events[0].time_ns, 103 * MILLISECOND);
    assert_eq!(warnings(&trace.spans[2]), ["This span's timestamps were adjusted by 9ms"]);
    let exceeded = "max clock skew adjustment delta of 8ms exceeded; not applying calculated delta of 9ms";
    let trace = skewed(8);
    assert_eq!((warnings(&trace.spans[1]), trace.spans[1].start_ns), (vec![exceeded], 94 * MILLISECOND));
    let raw = Adjuster::new(Duration::from_millis(9)).answer(Trace { spans: spans.clone() }, true);
    assert_eq!(raw.spans, spans);
}

#[test]
fn hosts_are_distinguished_by_id_then_address_then_name() {
    let host = |attributes: &[(&str, Value)]| {
        let list = attributes.iter().map(|(key, value)| attribute(key, value.clone()));
        let attributes = std::iter::once(text("service.name", "shop")).chain(list).collect();
        Arc::new(Resource { attributes, ..Resource::default() })
    };
    let string = |value: &str| Value::String(value.to_owned());
    let addresses = |first: &str| Value::Array(vec![string(first), string("::1")]);
    let is_one_host = |a: &[(&str, Value)], b: &[(&str, Value)]| {
        let [parent, child] = call(["", ""], 94, 98).try_into().unwrap();
        let spans = vec![Span { resource: host(a), ..parent }, Span { resource: host(b), ..child }];
        warnings(&adjusted(spans).spans[1]).is_empty()
    };
    assert!(is_one_host(&[("host.ip", addresses("1"))], &[("host.ip", string("1"))]));
    assert!(!is_one_host(&[("host.ip", addresses("1"))], &[("host.ip", addresses("2"))]));
    assert!(!is_one_host(
        &[("host.id", string("1")), ("host.name", string("a"))],
        &[("host.name", string("a"))]
    ));
    assert!(!is_one_host(&[("host.id", Value::Int(1))], &[("host.id", Value::Int(1))]));
}

#[test]
fn warns_of_a_missing_parent() {
    let trace = adjusted(vec![span((1, 0xaa, 0, 1)), span((2, 1, 0, 1))]);
    let missing = "parent span ID=00000000000000aa is not in the trace; skipping clock skew adjustment";
    assert_eq!((warnings(&trace.spans[0]), warnings(&trace.spans[1])), (vec![missing], vec![]));
}

#[test]
fn a_server_span_with_the_id_of_its_client_span_gets_its_own_before_duplicates_are_looked_for() {
    let of_kind = |kind, fields| Span { kind, ..span(fields) };
    let trace = adjusted(vec![
        of_kind(Kind::Client, (1, 0, 0, 1)),
        of_kind(Kind::Server, (1, 0, 0, 1)),
        span((2, 1, 0, 1)),
    ]);
    let ids: Vec<_> = trace.spans.iter().map(|span| (span.span_id, span.parent)).collect();
    assert_eq!(ids, [(SpanId(1), None), (SpanId(3), Some(SpanId(1))), (SpanId(2), Some(SpanId(3)))]);
    assert_eq!(trace.spans.iter().flat_map(warnings).count(), 0);
}

#[test]
fn a_warning_of_the_sender_stays() {
    for value in [Value::String("own".to_owned()), Value::Array(vec![Value::String("own".to_owned())])] {
        let span = Span { attributes: vec![attribute(WARNINGS, value)], ..span((1, 0, 5, 5)) };
        let trace = adjusted(vec![span]);
        assert_eq!((warnings(&trace.spans[0]).len(), warnings(&trace.spans[0])[0]), (2, "own"));
    }
}

/// Number of attributes or links of a span. A pass over all of them for each one would take minutes for all [`LARGE_SPANS`].
const LARGE: usize = 20_000;
const LARGE_SPANS: u64 = 20;

fn filler() -> Vec<Attribute> {
    (0..LARGE).map(|number| attribute(&format!("a{number}"), Value::Empty)).collect()
}

#[test]
fn adjusts_spans_of_many_links_and_attributes() {
    let unadjusted =
        |id| Span { attributes: filler(), links: vec![link(None); LARGE], ..span((id, 0, 0, 1)) };
    for id in 1..=LARGE_SPANS {
        let trace = adjusted(vec![unadjusted(id)]);
        assert_eq!(warnings(&trace.spans[0]), vec!["Invalid span link removed"; LARGE]);
        assert_eq!(trace.spans[0].attributes.len(), LARGE + 1);
    }
}

#[test]
fn adjusts_spans_of_many_library_attributes_that_conflict_with_a_large_resource() {
    let shared = Arc::new(Resource {
        attributes: filler().into_iter().chain([text("telemetry.sdk.name", "otel")]).collect(),
        ..Resource::default()
    });
    let unadjusted = |id| Span {
        attributes: vec![text("telemetry.sdk.name", "other"); LARGE],
        resource: Arc::clone(&shared),
        ..span((id, 0, 0, 1))
    };
    let conflict = "conflicting values between Span and Resource for attribute telemetry.sdk.name";
    for id in 1..=LARGE_SPANS {
        let trace = adjusted(vec![unadjusted(id)]);
        assert_eq!(warnings(&trace.spans[0]), vec![conflict; LARGE]);
        assert_eq!(trace.spans[0].attributes.len(), LARGE + 1);
    }
}

#[test]
fn adjusts_many_spans_of_one_large_resource() {
    for service in [None, Some(text("service.name", "shop"))] {
        let name = service.as_ref().map_or("missing-service-name", |_| "shop").to_owned();
        let resource = Arc::new(Resource {
            attributes: filler().into_iter().chain(service).collect(),
            ..Resource::default()
        });
        let of_resource = |id| Span { resource: Arc::clone(&resource), ..span((id, 0, 0, 1)) };
        let trace = Trace { spans: (1..=200_000).map(of_resource).collect() };
        let trace = Adjuster::default().answer(trace, true);
        let [first, .., last] = &trace.spans[..] else { panic!("{} spans", trace.spans.len()) };
        assert!(Arc::ptr_eq(&first.resource, &last.resource));
        assert_eq!(first.service(), name);
    }
}
