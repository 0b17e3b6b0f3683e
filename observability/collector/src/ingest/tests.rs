use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::span::Link;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use prost::Message as _;

use super::*;
use crate::fixture::{proto_attribute, proto_resource, proto_span, proto_text};
use crate::otlp;
use crate::otlp::encoded::{push_bytes, push_nested};
use crate::store::Lookup;
use crate::trace::TraceId;

fn span(trace: u8, id: u8, duration_ns: u64) -> Span {
    Span { name: "work".to_owned(), end_time_unix_nano: duration_ns, ..proto_span(trace.into(), id.into()) }
}

fn accept(ingest: &Ingest, spans: Vec<Span>) -> u64 {
    accept_of(ingest, Resource::default(), spans)
}

/// Returns the number of rejected spans.
fn accept_of(ingest: &Ingest, resource: Resource, spans: Vec<Span>) -> u64 {
    let scope_spans = vec![ScopeSpans { spans, ..ScopeSpans::default() }];
    let resource_spans =
        vec![ResourceSpans { resource: Some(resource), scope_spans, ..ResourceSpans::default() }];
    let message = ExportTraceServiceRequest { resource_spans }.encode_to_vec();
    let partial = ingest.accept(&message.into(), Transport::Grpc).unwrap();
    partial.map_or(0, |partial| partial.rejected_spans as u64)
}

#[test]
fn a_trace_that_became_too_large_is_no_exemplar() {
    let ingest = Ingest::new(1 << 20, None);
    accept(&ingest, vec![span(1, 1, 1_000_000)]);
    let large = Span { links: vec![Link::default(); 10_000], ..span(2, 3, 5_000_000) };
    // Spans of the same message that precede the excess span are no exemplars either.
    accept(&ingest, vec![span(2, 1, 9_000_000), span(2, 2, 8_000_000), large]);
    let hop = ingest.hops(false).remove(0);
    assert_eq!(hop.count, 4, "all spans are measured");
    let exemplars = &hop.exemplars;
    let exemplars = [&exemplars.p50, &exemplars.p90, &exemplars.p99, &exemplars.p999, &exemplars.max]
        .map(Vec::as_slice)
        .concat();
    assert!(!exemplars.is_empty());
    for exemplar in exemplars {
        assert!(matches!(ingest.store.get(exemplar.trace_id), Lookup::Stored(_)), "{exemplar:?}");
    }
}

#[test]
fn ignores_a_service_whose_spans_were_all_rejected() {
    let ingest = Ingest::new(1 << 20, None);
    assert_eq!(accept(&ingest, vec![Span::default()]), 1);
    assert_eq!(ingest.services(), [""; 0]);
    accept(&ingest, vec![span(1, 1, 1)]);
    assert_eq!(ingest.services(), ["missing-service-name"]);
}

#[test]
fn reopens_a_trace_that_repeats_its_resources() {
    let ingest = Ingest::new(256 << 20, None);
    let resource = |letter: &str| Resource {
        attributes: vec![proto_attribute("long", proto_text(&letter.repeat(60_000)))],
        ..Resource::default()
    };
    let resources = [resource("a"), resource("b")];
    for id in 1..=300_u64 {
        let span = Span { span_id: id.to_be_bytes().to_vec(), name: "n".repeat(16_000), ..span(1, 1, id) };
        accept_of(&ingest, resources[id as usize % 2].clone(), vec![span]);
    }
    let kept = |ingest: &Ingest| match ingest.store.get(TraceId(1)) {
        Lookup::Stored(trace) => trace,
        other => panic!("{other:?}"),
    };
    let line = otlp::to_json_line(&kept(&ingest)).unwrap();
    let snapshot = serde_json::to_vec(&ingest.snapshot()).unwrap();
    let opened = Ingest::open(&snapshot, line.as_bytes(), usize::MAX).unwrap();
    assert_eq!(kept(&opened), kept(&ingest));
}

#[test]
fn lists_operations_without_a_histogram_and_with_long_names() {
    let ingest = Ingest::new(1 << 20, None);
    let long = "SELECT ".repeat(100);
    let named = |number: u8, name: String| Span { name, ..span(number, 1, 1) };
    accept(&ingest, (1..=100).map(|number| named(number, format!("GET /{number}"))).collect());
    accept(&ingest, vec![named(101, long.clone()), named(102, "GET /102".to_owned())]);
    assert!(ingest.latencies().overflow() > 0, "some operations have no histogram");
    let names: Vec<String> =
        ingest.operations("missing-service-name").into_iter().map(|(name, _)| name).collect();
    assert_eq!(names.len(), 102);
    assert!(names.contains(&long) && names.contains(&"GET /102".to_owned()), "{names:?}");
}

#[test]
fn an_empty_service_name_has_a_placeholder() {
    let ingest = Ingest::new(1 << 20, None);
    accept_of(&ingest, proto_resource(""), vec![span(1, 1, 1)]);
    assert_eq!(ingest.services(), ["empty-service-name"]);
    let Lookup::Stored(trace) = ingest.store.get(TraceId(1)) else { panic!() };
    assert_eq!(trace.spans[0].service(), "empty-service-name");
}

/// Returns an encoded span with 100,000 lists that are nested too deep, in 4 bytes each.
fn span_with_deep_lists() -> Vec<u8> {
    let mut value = Vec::new();
    push_nested(&mut value, 6, |map| {
        push_nested(map, 1, |entry| entry.extend([0x12, 2, 0x2a, 0].repeat(100_000)));
    });
    for _ in 1..otlp::MAX_DEPTH {
        let mut list = Vec::new();
        push_nested(&mut list, 5, |list| push_bytes(list, 1, &value));
        value = list;
    }
    let mut message = span(1, 1, 1).encode_to_vec();
    push_nested(&mut message, 9, |attribute| push_bytes(attribute, 2, &value));
    message
}

#[test]
fn rejects_spans_whose_repair_would_multiply_the_size_of_the_message() {
    let ingest = Ingest::new(1 << 20, None);
    let (deep, mut invalid) = (span_with_deep_lists(), span(1, 2, 1).encode_to_vec());
    let name = invalid.windows(4).position(|window| window == b"work").unwrap();
    invalid[name] = 0xff;
    let mut message = Vec::new();
    push_nested(&mut message, 1, |resource_spans| {
        push_nested(resource_spans, 2, |scope_spans| {
            push_bytes(scope_spans, 2, &deep);
            push_bytes(scope_spans, 2, &invalid);
        });
    });
    let partial = ingest.accept(&message.into(), Transport::Grpc).unwrap().unwrap();
    assert_eq!(partial.rejected_spans, 1);
    assert!(partial.error_message.contains("too long once repaired"), "{}", partial.error_message);
    assert_eq!(ingest.store.stats().spans, 1, "the other one is repaired");
}
