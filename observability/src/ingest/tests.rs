use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::span::Link;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use prost::Message as _;

use super::*;
use crate::store::Found;

fn span(trace: u8, id: u8, duration_ns: u64) -> Span {
    Span {
        trace_id: vec![trace; 16],
        span_id: vec![id; 8],
        name: "work".to_owned(),
        end_time_unix_nano: duration_ns,
        ..Span::default()
    }
}

fn accept(ingest: &Ingest, spans: Vec<Span>) -> u64 {
    let scope_spans = vec![ScopeSpans { spans, ..ScopeSpans::default() }];
    let resource = Some(Resource::default());
    let resource_spans = vec![ResourceSpans { resource, scope_spans, ..ResourceSpans::default() }];
    let message = ExportTraceServiceRequest { resource_spans }.encode_to_vec();
    let partial = ingest.accept(&message.into(), Transport::Grpc).unwrap();
    partial.map_or(0, |partial| partial.rejected_spans as u64)
}

#[test]
fn a_trace_that_became_too_large_tells_nothing_any_more() {
    let ingest = Ingest::new(1 << 20, None);
    accept(&ingest, vec![span(1, 1, 1_000_000)]);
    let large = Span { links: vec![Link::default(); 10_000], ..span(2, 3, 5_000_000) };
    // Of one message, too, what came before the span that was too much.
    accept(&ingest, vec![span(2, 1, 9_000_000), span(2, 2, 8_000_000), large]);
    let hop = ingest.latencies().hops(false).remove(0);
    assert_eq!(hop.count, 4, "all are measured");
    let told = &hop.exemplars;
    let told = [&told.p50, &told.p90, &told.p99, &told.p999, &told.max].map(Vec::as_slice).concat();
    assert!(!told.is_empty());
    for exemplar in told {
        assert!(matches!(ingest.store.get(exemplar.trace_id), Found::Kept(_)), "{exemplar:?}");
    }
}

#[test]
fn a_service_whose_spans_were_all_refused_is_not_remembered() {
    let ingest = Ingest::new(1 << 20, None);
    assert_eq!(accept(&ingest, vec![Span::default()]), 1);
    assert_eq!(ingest.services(), [""; 0]);
    accept(&ingest, vec![span(1, 1, 1)]);
    assert_eq!(ingest.services(), ["unknown_service"]);
}
