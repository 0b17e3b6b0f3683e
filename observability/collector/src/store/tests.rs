use opentelemetry_proto::tonic::trace::v1::span::Link;
use opentelemetry_proto::tonic::trace::v1::{Span, Status};
use prost::Message as _;

use super::*;
use crate::fixture::{proto_attribute, proto_resource as resource, proto_span, proto_text};

/// Large enough for all spans of a test.
const MAX: usize = 1 << 20;

/// Inserts spans `(trace, span)` of one service with names of `name` bytes. Returns the positions of duplicates.
fn insert(store: &Store, max_bytes: usize, service: &str, spans: &[(u128, u64)], name: usize) -> Vec<usize> {
    let span = |(trace, id): &(u128, u64)| Span { name: "n".repeat(name), ..proto_span(*trace, *id) };
    insert_spans(store, max_bytes, service, &spans.iter().map(span).collect::<Vec<_>>())
}

fn insert_spans(store: &Store, max_bytes: usize, service: &str, spans: &[Span]) -> Vec<usize> {
    let (resource, spans): (_, Vec<_>) =
        (resource(service).encode_to_vec(), spans.iter().map(Span::encode_to_vec).collect());
    let mut batch = SpanBatch::with_capacity(0);
    batch.begin_group(Encoded { message: &resource, schema: b"" }, Encoded::default()).unwrap();
    spans.iter().for_each(|span| batch.push(span).unwrap());
    let Inserted { duplicate, .. } = store.insert(&batch);
    assert!(!store.evict_to_fit(&[], max_bytes));
    duplicate
}

fn kept(store: &Store, id: u128) -> Trace {
    match store.get(TraceId(id)) {
        Lookup::Stored(trace) => trace,
        other => panic!("trace {id}: {other:?}"),
    }
}

#[test]
fn spans_of_several_batches_join_their_trace_in_order_of_arrival() {
    let store = Store::new(MAX);
    insert(&store, MAX, "a", &[(1, 10), (2, 20)], 1);
    insert(&store, MAX, "b", &[(2, 21), (1, 11)], 1000);
    insert(&store, MAX, "a", &[(1, 12)], 0);
    let trace = kept(&store, 1);
    let spans: Vec<_> =
        trace.spans.iter().map(|span| (span.span_id.0, span.service(), span.name.len())).collect();
    assert_eq!(spans, [(10, "a", 1), (11, "b", 1000), (12, "a", 0)]);
    assert!(trace.spans.iter().all(|span| span.trace_id == TraceId(1)));
    assert!(std::sync::Arc::ptr_eq(&trace.spans[0].resource, &trace.spans[2].resource));
    assert!(matches!(store.get(TraceId(3)), Lookup::Unknown));
    assert_eq!((store.stats().traces, store.stats().spans), (2, 5));
}

#[test]
fn orders_spans_by_resource_if_large_resources_alternate() {
    let order = |names: [&str; 2]| {
        let store = Store::new(MAX);
        for id in 1..=6 {
            insert(&store, MAX, names[id as usize % 2], &[(1, id)], 200);
        }
        kept(&store, 1).spans.iter().map(|span| span.span_id.0).collect::<Vec<_>>()
    };
    assert_eq!(order(["a", "b"]), [1, 2, 3, 4, 5, 6]);
    let large = "r".repeat(5_000);
    assert_eq!(order([&large, "b"]), [1, 3, 5, 2, 4, 6]);
}

#[test]
fn a_span_is_a_duplicate_in_each_of_its_encodings() {
    let store = Store::new(MAX);
    let nan = proto_attribute(
        "nan",
        opentelemetry_proto::tonic::common::v1::any_value::Value::DoubleValue(f64::NAN),
    );
    let absent = Span { attributes: vec![nan], ..proto_span(1, 10) };
    let present = Span { status: Some(Status::default()), ..absent.clone() };
    let failed = Span { status: Some(Status { code: 2, ..Status::default() }), ..absent.clone() };
    assert!(insert_spans(&store, MAX, "a", std::slice::from_ref(&absent)).is_empty());
    assert_eq!(insert_spans(&store, MAX, "a", &[present, failed]), [0], "another status is another span");
}

#[test]
fn stores_a_repeated_batch_once() {
    let store = Store::new(MAX);
    assert!(insert(&store, MAX, "a", &[(1, 10), (2, 20)], 5).is_empty());
    assert_eq!(insert(&store, MAX, "a", &[(3, 30), (1, 10), (2, 20), (2, 21)], 5), [1, 2]);
    assert!(insert(&store, MAX, "a", &[(1, 10)], 6).is_empty(), "another span with the same id");
    let stats = store.stats();
    assert_eq!((stats.spans, stats.duplicate_spans), (5, 2));
    assert_eq!(kept(&store, 2).spans.len(), 2);
}

#[test]
fn keeps_the_latest_and_a_uniform_sample_within_the_bound() {
    let max_bytes = 200_000;
    let store = Store::new(max_bytes);
    for trace in 1..=10_000 {
        insert(&store, max_bytes, "a", &[(trace, 1), (trace, 2)], 50);
        assert!(store.stats().bytes <= max_bytes);
    }
    let stats = store.stats();
    let evicted: u64 = stats.evicted_traces.iter().sum();
    let kept_traces = stats.traces as u64;
    assert_eq!(
        (kept_traces + evicted, stats.spans, stats.evicted_spans),
        (10_000, kept_traces * 2, evicted * 2)
    );
    let kept: Vec<u128> = (1..=10_000)
        .filter(|trace| match store.get(TraceId(*trace)) {
            Lookup::Stored(whole) => whole.spans.len() == 2,
            Lookup::Evicted(Eviction { reason, .. }) => {
                assert!([EvictionReason::Old, EvictionReason::SampleThinned].contains(&reason), "{reason:?}");
                false
            }
            Lookup::Unknown => panic!("{trace} is forgotten"),
        })
        .collect();
    assert_eq!(kept.len(), stats.traces);
    // Half of them are the latest; the other half is uniform, so about the same number falls into each tenth.
    let half = kept.len() as u128 / 2;
    assert!((10_000 - half * 3 / 4..=10_000).all(|trace| kept.contains(&trace)), "{kept:?}");
    let in_tenth = |tenth| kept.iter().filter(|trace| *trace / 1000 == tenth).count() as u128;
    assert!((0..9).all(|tenth| (half / 25..half / 5).contains(&in_tenth(tenth))), "{kept:?}");
}

#[test]
fn keeps_errors_and_prefers_rare_ones() {
    let max_bytes = 400_000;
    let store = Store::new(max_bytes);
    let failed = |trace: u128, name: &str| Span {
        name: name.to_owned(),
        status: Some(Status { code: 2, ..Status::default() }),
        ..proto_span(trace, 1)
    };
    insert_spans(&store, max_bytes, "a", &[failed(1, "rare"), failed(2, "rare")]);
    for trace in 10..10_000 {
        insert_spans(&store, max_bytes, "a", &[failed(trace, "frequent")]);
        insert(&store, max_bytes, "a", &[(100_000 + trace, 1)], 50);
    }
    assert!(
        matches!(store.get(TraceId(1)), Lookup::Stored(_))
            && matches!(store.get(TraceId(2)), Lookup::Stored(_))
    );
    assert!(matches!(store.get(TraceId(9_990)), Lookup::Stored(_)), "the latest of the frequent ones");
    let stats = store.stats();
    assert!(stats.evicted_traces[EvictionReason::ErrorsFull as usize] > 5000, "{stats:?}");
    assert!(stats.evicted_traces[EvictionReason::Old as usize] > 1000, "{stats:?}");
    assert!(stats.bytes <= max_bytes);
}

#[test]
fn keeps_exemplars_until_they_are_removed() {
    let max_bytes = 100_000;
    let store = Store::new(max_bytes);
    insert(&store, max_bytes, "a", &[(1, 1), (2, 1)], 50);
    let change = |trace, added| ExemplarChange { trace_id: TraceId(trace), added };
    assert!(
        !store
            .evict_to_fit(&[change(1, true), change(1, true), change(2, true), change(2, false)], max_bytes)
    );
    for trace in 10..2000 {
        insert(&store, max_bytes, "a", &[(trace, 1)], 50);
    }
    assert!(matches!(store.get(TraceId(1)), Lookup::Stored(_)));
    store.evict_to_fit(&[change(1, false)], max_bytes);
    assert!(matches!(store.get(TraceId(1)), Lookup::Stored(_)), "one of its spans is still an exemplar");
    store.evict_to_fit(&[change(1, false)], max_bytes);
    for trace in 2000..4000 {
        insert(&store, max_bytes, "a", &[(trace, 1)], 50);
    }
    // It may still be in the uniform sample, if its rank is low.
    let sampled = (10..4000).filter(|trace| TraceId(*trace).rank() < TraceId(1).rank()).count() < 50;
    assert_eq!(matches!(store.get(TraceId(1)), Lookup::Stored(_)), sampled);
}

#[test]
fn reduces_exemplars_above_their_share_and_evicts_the_oldest_when_forced() {
    let max_bytes = 100_000;
    let store = Store::new(MAX);
    let traces: Vec<(u128, u64)> = (1..=300).map(|trace| (trace, 1)).collect();
    insert(&store, MAX, "a", &traces, 50);
    let all: Vec<ExemplarChange> =
        traces.iter().map(|(id, _)| ExemplarChange { trace_id: TraceId(*id), added: true }).collect();
    assert!(store.evict_to_fit(&all, max_bytes));
    store.evict_oldest_to_fit(max_bytes);
    assert!(store.stats().bytes <= max_bytes);
    assert!(
        matches!(store.get(TraceId(1)), Lookup::Evicted(_))
            && matches!(store.get(TraceId(300)), Lookup::Stored(_))
    );
}

#[test]
fn counts_a_late_span_of_an_evicted_trace_without_storing_it() {
    let max_bytes = 10_000;
    let store = Store::new(max_bytes);
    for trace in 1..=200 {
        insert(&store, max_bytes, "a", &[(trace, 1)], 50);
    }
    let evicted = (1..=200).find(|trace| matches!(store.get(TraceId(*trace)), Lookup::Evicted(_))).unwrap();
    let before = store.stats();
    insert(&store, max_bytes, "a", &[(evicted, 2)], 50);
    assert!(matches!(store.get(TraceId(evicted)), Lookup::Evicted(_)));
    assert_eq!(store.stats(), Stats { late_spans: 1, ..before });
}

#[test]
fn evicts_only_the_trace_that_is_too_large() {
    let max_bytes = 100_000;
    let store = Store::new(max_bytes);
    insert(&store, max_bytes, "a", &[(1, 1)], 50);
    for id in 1..1000 {
        insert(&store, max_bytes, "a", &[(2, id)], 50);
    }
    assert_eq!(kept(&store, 1).spans.len(), 1);
    assert!(matches!(
        store.get(TraceId(2)),
        Lookup::Evicted(Eviction { reason: EvictionReason::TooLarge, .. })
    ));
    let stats = store.stats();
    assert_eq!(stats.evicted_traces[EvictionReason::TooLarge as usize], 1);
    assert_eq!(stats.evicted_spans + stats.late_spans, 999);
}

#[test]
fn services_of_evicted_traces_take_no_space() {
    let max_bytes = 1 << 20;
    let store = Store::new(max_bytes);
    for trace in 1..=20_000_u128 {
        insert(&store, max_bytes, &format!("service {trace} {}", "x".repeat(100)), &[(trace, 1)], 50);
        assert!(store.stats().bytes <= max_bytes);
    }
    assert!(store.stats().traces > 100, "{:?}", store.stats());
    assert!(kept(&store, 20_000).spans[0].service().starts_with("service 20000 "));
}

#[test]
fn stays_usable_after_a_message_larger_than_the_store() {
    let max_bytes = 20_000;
    let store = Store::new(max_bytes);
    insert(&store, max_bytes, "a", &[(1, 1)], 1 << 20);
    assert!(matches!(
        store.get(TraceId(1)),
        Lookup::Evicted(Eviction { reason: EvictionReason::TooLarge, .. })
    ));
    insert(&store, max_bytes, &"s".repeat(60_000), &[(2, 1)], 10);
    insert(&store, max_bytes, "a", &[(3, 1)], 10);
    assert_eq!(kept(&store, 3).spans.len(), 1);
    assert!(store.stats().bytes <= max_bytes);
}

#[test]
fn exemplar_changes_out_of_order_cancel_out() {
    let max_bytes = 100_000;
    let store = Store::new(max_bytes);
    let some: Vec<(u128, u64)> = (1..=20).map(|trace| (trace, 1)).collect();
    insert(&store, max_bytes, "a", &some, 50);
    let change = |trace, added| ExemplarChange { trace_id: TraceId(trace), added };
    for (trace, _) in &some {
        store.evict_to_fit(&[change(*trace, false)], max_bytes);
        store.evict_to_fit(&[change(*trace, true)], max_bytes);
    }
    for trace in 100..5000 {
        insert(&store, max_bytes, "a", &[(trace, 1)], 50);
    }
    let kept =
        some.iter().filter(|(trace, _)| matches!(store.get(TraceId(*trace)), Lookup::Stored(_))).count();
    assert!(kept < 5, "{kept} are kept, more than a uniform sample has");
}

#[test]
fn insert_reports_duplicate_late_and_evicted() {
    let max_bytes = 100_000;
    let store = Store::new(max_bytes);
    let inserted = |spans: &[(u128, u64)]| {
        let spans: Vec<Vec<u8>> = spans
            .iter()
            .map(|(trace, id)| Span {
                name: "n".repeat(if *id == 9 { 10_000 } else { 5 }),
                ..proto_span(*trace, *id)
            })
            .map(|span| span.encode_to_vec())
            .collect();
        let mut batch = SpanBatch::with_capacity(0);
        batch.begin_group(Encoded::default(), Encoded::default()).unwrap();
        spans.iter().for_each(|span| batch.push(span).unwrap());
        store.insert(&batch)
    };
    let too_large = Inserted { evicted: vec![TraceId(2)], ..Inserted::default() };
    assert_eq!(inserted(&[(1, 1), (2, 9)]), too_large);
    let after = Inserted { duplicate: vec![1], late: vec![0], ..Inserted::default() };
    assert_eq!(inserted(&[(2, 1), (1, 1), (1, 2)]), after);
}

#[test]
fn evicts_traces_with_too_many_parts_or_resources() {
    let plain = || proto_span(1, 1);
    let id = TraceId(1);
    // Each link takes a few bytes on the wire.
    let many_parts = Span { links: vec![Link::default(); 10_000], ..plain() };
    let store = Store::new(MAX);
    insert_spans(&store, MAX, "a", &[many_parts]);
    assert!(
        matches!(store.get(id), Lookup::Evicted(Eviction { reason: EvictionReason::TooLarge, .. })),
        "{:?}",
        store.stats()
    );

    let store = Store::new(MAX);
    for number in 0..300_u64 {
        let span = Span { span_id: (number + 1).to_be_bytes().to_vec(), ..plain() };
        insert_spans(&store, MAX, &format!("service {number}"), &[span]);
    }
    assert!(
        matches!(store.get(id), Lookup::Evicted(Eviction { reason: EvictionReason::TooLarge, .. })),
        "{:?}",
        store.stats()
    );
}

#[test]
fn does_not_store_a_resource_without_spans() {
    let store = Store::new(MAX);
    let resources: Vec<Vec<u8>> = (0..3).map(|n| resource(&format!("service {n}")).encode_to_vec()).collect();
    let mut batch = SpanBatch::with_capacity(0);
    for message in &resources {
        batch.begin_group(Encoded { message, schema: b"" }, Encoded::default()).unwrap();
        batch.push(b"no span").unwrap_err();
    }
    assert_eq!(batch.non_empty_groups().count(), 0);
    store.insert(&batch);
    assert_eq!((store.services().len(), store.stats().bytes), (0, 0));
}

/// Returns the traces with a span that has this tag.
fn found(store: &Store, key: &str, value: &str) -> Vec<u128> {
    let query = Query {
        service: None,
        operation: None,
        tags: vec![(key.to_owned(), value.to_owned())],
        start_ns: 0..=u64::MAX,
        duration_ns: 0..=u64::MAX,
        limit: 10,
    };
    let ids = store.search(&query).filter_map(|trace| trace.id());
    ids.map(|TraceId(id)| id).collect()
}

#[test]
fn finds_errors_by_every_boolean_literal_of_go() {
    let store = Store::new(MAX);
    let attribute = |text: &str| proto_attribute("error", proto_text(text));
    let span = |trace: u128, code, attributes| Span {
        status: Some(Status { code, ..Status::default() }),
        attributes,
        ..proto_span(trace, 1)
    };
    let spans =
        [span(1, 2, vec![]), span(2, 0, vec![attribute("disk full")]), span(3, 1, vec![attribute("1")])];
    insert_spans(&store, MAX, "a", &spans);
    for word in ["t", "T", "TRUE", "true", "True"] {
        assert_eq!(found(&store, "error", word), [1], "{word}");
    }
    for word in ["0", "f", "F", "FALSE", "false", "False"] {
        assert_eq!(found(&store, "error", word), [3, 2], "{word}");
    }
    assert_eq!(found(&store, "error", "1"), [3, 1], "matches an attribute of that name as well");
    assert_eq!(found(&store, "error", "disk full"), [2]);
    assert!(found(&store, "error", "yes").is_empty());
}

#[test]
fn finds_kinds_and_statuses_in_any_case() {
    let store = Store::new(MAX);
    let spans = [(1, 2, 2), (2, 3, 0)].map(|(trace, kind, code): (u128, i32, i32)| Span {
        kind,
        status: Some(Status { code, ..Status::default() }),
        ..proto_span(trace, 1)
    });
    insert_spans(&store, MAX, "a", &spans);
    let found = |key: &str, value: &str| found(&store, key, value);
    assert_eq!([found("span.kind", "SERVER"), found("span.kind", "client")], [[1], [2]]);
    assert_eq!([found("span.status", "ERROR"), found("span.status", "unset")], [[1], [2]]);
    assert!(found("span.kind", "consumer").is_empty());
}

#[test]
fn removes_unused_resources_before_evicting_traces() {
    let max_bytes = 1 << 20;
    let store = Store::new(max_bytes);
    // Each service name takes a hundredth of the store.
    for trace in 1..=1000_u128 {
        insert(&store, max_bytes, &format!("{trace} {}", "s".repeat(1500)), &[(trace, 1)], 10);
        let Stats { traces, bytes, .. } = store.stats();
        assert!(bytes <= max_bytes && (trace < 100 || traces > 30), "{traces} traces after {trace}");
    }
}
