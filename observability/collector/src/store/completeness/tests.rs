use opentelemetry_proto::tonic::trace::v1::span::Link;
use opentelemetry_proto::tonic::trace::v1::{Span as ProtoSpan, Status};
use prost::Message as _;

use super::*;
use crate::fixture::{proto_attribute, proto_resource, proto_span, proto_text};
use crate::store::{Encoded, EvictionReason, Lookup, SpanBatch, Store};

const MAX: usize = 64 << 20;

fn kinds(kinds: [i32; 4]) -> Vec<ProtoSpan> {
    let spans = kinds.into_iter().enumerate().map(|(index, kind)| {
        let id = index as u64 + 1;
        let parent = if id == 1 { Vec::new() } else { (id - 1).to_be_bytes().to_vec() };
        ProtoSpan { kind, parent_span_id: parent, ..proto_span(1, id) }
    });
    spans.collect()
}

/// A client call, the server span that answered it, a message that the server sent, and its consumer.
fn booking() -> Vec<ProtoSpan> {
    let mut spans = kinds([3, 2, 4, 5]);
    let peer = proto_attribute(PEER_SPAN_ID, proto_text("0000000000000002"));
    spans[0].attributes = vec![proto_attribute("url.path", proto_text("/book")), peer];
    spans
}

fn store(spans: &[ProtoSpan]) -> Store {
    let store = Store::new(MAX);
    let (resource, spans): (_, Vec<_>) =
        (proto_resource("shop").encode_to_vec(), spans.iter().map(ProtoSpan::encode_to_vec).collect());
    let mut batch = SpanBatch::with_capacity(0);
    batch.begin_group(Encoded { message: &resource, schema: b"" }, Encoded::default()).unwrap();
    spans.iter().for_each(|span| batch.push(span).unwrap());
    store.insert(&batch);
    store
}

/// Returns the gap of the decoded trace, and whether the store called it complete when it evicted it.
fn judged(spans: &[ProtoSpan]) -> (Option<Gap>, bool) {
    let store = store(spans);
    let Lookup::Stored(trace) = store.get(TraceId(1)) else { panic!("not stored") };
    store.evict_to_fit(&[], 0);
    let Lookup::Evicted(eviction) = store.get(TraceId(1)) else { panic!("not evicted") };
    (TraceFacts::of(&trace).first_gap(), eviction.was_complete.unwrap())
}

#[test]
fn an_evicted_trace_is_judged_as_the_ledger_judges_a_stored_one() {
    let linked = |mut spans: Vec<ProtoSpan>, trace: u128| {
        spans[3].parent_span_id = 1_u64.to_be_bytes().to_vec();
        let (trace_id, span_id) = (trace.to_be_bytes().to_vec(), 3_u64.to_be_bytes().to_vec());
        spans[3].links = vec![Link { trace_id, span_id, ..Link::default() }];
        spans
    };
    let failed = |mut spans: Vec<ProtoSpan>| {
        spans.truncate(3);
        spans[2].status = Some(Status { code: 2, message: "queue full".to_owned() });
        spans
    };
    let with_peer = |id: &str| {
        let mut spans = booking();
        spans[0].attributes = vec![proto_attribute(PEER_SPAN_ID, proto_text(id))];
        spans
    };
    let peer = SpanId(9);
    for (spans, expected) in [
        (booking(), None),
        (booking()[1..].to_vec(), Some(Gap::Parent { span: 0 })),
        (booking()[..1].to_vec(), Some(Gap::Answer { span: 0, peer: SpanId(2) })),
        (booking()[..3].to_vec(), Some(Gap::Receiver { span: 2 })),
        ([booking(), booking()].concat(), None),
        (vec![booking().remove(0), proto_span(1, 2)], Some(Gap::Roots(2))),
        (linked(booking(), 1), None),
        (linked(booking(), 2), Some(Gap::Receiver { span: 2 })),
        (failed(booking()), None),
        (with_peer("9"), Some(Gap::Answer { span: 0, peer })),
        (with_peer("kitchen"), None),
    ] {
        assert_eq!(judged(&spans), (expected, expected.is_none()), "{expected:?}");
    }
}

#[test]
fn a_trace_that_was_too_large_is_judged_by_the_spans_that_had_arrived() {
    assert_eq!(judged_too_large(&proto_span(1, 1)), Some(true));
    let parent_span_id = vec![9; 8];
    assert_eq!(judged_too_large(&ProtoSpan { parent_span_id, ..proto_span(1, 1) }), Some(false));
}

fn judged_too_large(span: &ProtoSpan) -> Option<bool> {
    let store = Store::new(1000);
    let (resource, span) = (proto_resource("shop").encode_to_vec(), span.encode_to_vec());
    let mut batch = SpanBatch::with_capacity(0);
    batch.begin_group(Encoded { message: &resource, schema: b"" }, Encoded::default()).unwrap();
    batch.push(&span).unwrap();
    store.insert(&batch);
    let Lookup::Evicted(eviction) = store.get(TraceId(1)) else { panic!("not evicted") };
    assert_eq!(eviction.reason, EvictionReason::TooLarge);
    assert_eq!(store.stats().evicted_incomplete, u64::from(eviction.was_complete == Some(false)));
    eviction.was_complete
}
