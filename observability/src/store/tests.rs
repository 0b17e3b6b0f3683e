use opentelemetry_proto::tonic::common::v1::any_value::Value as ProtoValue;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::Span;

use super::*;

fn resource(service: &str) -> Resource {
    let value = AnyValue { value: Some(ProtoValue::StringValue(service.to_owned())) };
    let name = KeyValue { key: "service.name".to_owned(), value: Some(value), key_strindex: 0 };
    Resource { attributes: vec![name], ..Resource::default() }
}

/// Spans `(trace, span)` of one service, with names of so many bytes.
fn batch(service: &str, spans: &[(u128, u64)], name: usize) -> Batch {
    let mut batch = Batch::default();
    for (trace, id) in spans {
        let mut span = Span {
            trace_id: trace.to_be_bytes().to_vec(),
            span_id: id.to_be_bytes().to_vec(),
            name: "n".repeat(name),
            ..Span::default()
        };
        batch.push(TraceId(*trace), &mut span);
        assert_eq!(span.trace_id.len(), 16, "the span is as it was");
    }
    batch.end_group((Some(&resource(service)), ""), (Some(&InstrumentationScope::default()), ""));
    batch
}

fn kept(store: &Store, id: u128) -> Trace {
    match store.get(TraceId(id)) {
        Found::Kept(trace) => trace,
        other => panic!("trace {id}: {other:?}"),
    }
}

#[test]
fn spans_of_many_batches_join_their_trace_in_the_order_of_arrival() {
    let store = Store::new(1 << 20);
    store.insert(&batch("a", &[(1, 10), (2, 20)], 1));
    store.insert(&batch("b", &[(2, 21), (1, 11)], 1000));
    store.insert(&batch("a", &[(1, 12)], 0));
    let trace = kept(&store, 1);
    let spans: Vec<_> =
        trace.spans.iter().map(|span| (span.span_id.0, span.service(), span.name.len())).collect();
    assert_eq!(spans, [(10, "a", 1), (11, "b", 1000), (12, "a", 0)]);
    assert!(trace.spans.iter().all(|span| span.trace_id == TraceId(1)));
    assert!(std::sync::Arc::ptr_eq(&trace.spans[0].resource, &trace.spans[2].resource));
    assert!(matches!(store.get(TraceId(3)), Found::Nothing));
    assert_eq!((store.stats().traces, store.stats().spans), (2, 5));
}

#[test]
fn a_batch_that_comes_again_is_not_kept_twice() {
    let store = Store::new(1 << 20);
    assert!(store.insert(&batch("a", &[(1, 10), (2, 20)], 5)).is_empty());
    assert_eq!(store.insert(&batch("a", &[(3, 30), (1, 10), (2, 20), (2, 21)], 5)), [1, 2]);
    assert!(store.insert(&batch("a", &[(1, 10)], 6)).is_empty(), "another span, though its id is taken");
    let stats = store.stats();
    assert_eq!((stats.spans, stats.repeated_spans), (5, 2));
    assert_eq!(kept(&store, 2).spans.len(), 2);
}

#[test]
fn the_first_seen_leave_first_and_the_bound_holds_throughout() {
    let max_bytes = 100_000;
    let store = Store::new(max_bytes);
    for trace in 1..=1000 {
        store.insert(&batch("a", &[(trace, 1), (trace, 2)], 50));
        assert!(store.stats().bytes <= max_bytes);
    }
    let stats = store.stats();
    let (kept_traces, evicted) = (stats.traces as u64, stats.evicted_traces);
    assert_eq!(
        (kept_traces + evicted, stats.spans, stats.evicted_spans),
        (1000, kept_traces * 2, evicted * 2)
    );
    assert!(kept_traces > 50, "{stats:?}");
    for trace in 1..=1000 {
        match store.get(TraceId(trace)) {
            Found::Kept(whole) => assert!(trace > u128::from(evicted) && whole.spans.len() == 2, "{trace}"),
            Found::Evicted => assert!(trace <= u128::from(evicted), "{trace}"),
            Found::Nothing => panic!("{trace} is forgotten"),
        }
    }
}

#[test]
fn a_late_span_of_a_trace_that_left_is_counted_and_brings_nothing_back() {
    let store = Store::new(10_000);
    for trace in 1..=100 {
        store.insert(&batch("a", &[(trace, 1)], 50));
    }
    let before = store.stats();
    store.insert(&batch("a", &[(1, 2)], 50));
    assert!(matches!(store.get(TraceId(1)), Found::Evicted));
    assert_eq!(store.stats(), Stats { late_spans: 1, ..before });
}

#[test]
fn one_enormous_trace_leaves_alone() {
    let store = Store::new(100_000);
    store.insert(&batch("a", &[(1, 1)], 50));
    for id in 1..1000 {
        store.insert(&batch("a", &[(2, id)], 50));
    }
    assert_eq!(kept(&store, 1).spans.len(), 1);
    assert!(matches!(store.get(TraceId(2)), Found::Evicted));
    let stats = store.stats();
    assert_eq!((stats.evicted_traces, stats.evicted_spans + stats.late_spans), (1, 999));
}

#[test]
fn services_of_traces_that_left_take_no_room() {
    let max_bytes = 1 << 20;
    let store = Store::new(max_bytes);
    for trace in 1..=20_000_u128 {
        store.insert(&batch(&format!("service {trace} {}", "x".repeat(100)), &[(trace, 1)], 50));
        assert!(store.stats().bytes <= max_bytes);
    }
    assert!(store.stats().traces > 100, "{:?}", store.stats());
    assert!(kept(&store, 20_000).spans[0].service().starts_with("service 20000 "));
}

#[test]
fn a_single_message_larger_than_the_store_leaves_it_usable() {
    let store = Store::new(10_000);
    store.insert(&batch("a", &[(1, 1)], 1 << 20));
    assert!(matches!(store.get(TraceId(1)), Found::Evicted));
    store.insert(&batch(&"s".repeat(100_000), &[(2, 1)], 10));
    store.insert(&batch("a", &[(3, 1)], 10));
    assert_eq!(kept(&store, 3).spans.len(), 1);
    assert!(store.stats().bytes <= 10_000);
}
