use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::fixture::span;
use crate::trace::{Attribute, Resource, Value};

fn trace(spans: &[(u64, u64, u64, u64)]) -> Trace {
    Trace { spans: spans.iter().copied().map(span).collect() }
}

/// Returns the path as `(span id, start, end)`.
fn path(trace: &Trace) -> Vec<(u64, u64, u64)> {
    let name = |segment: Segment| (trace.spans[segment.span].span_id.0, segment.start_ns, segment.end_ns);
    critical_path(trace).into_iter().map(name).collect()
}

#[test]
fn attributes_time_to_sequential_calls() {
    let trace = trace(&[(1, 0, 0, 100), (2, 1, 10, 40), (3, 1, 50, 90), (4, 3, 60, 70)]);
    assert_eq!(
        path(&trace),
        [(1, 0, 10), (2, 10, 40), (1, 40, 50), (3, 50, 60), (4, 60, 70), (3, 70, 90), (1, 90, 100)]
    );
    assert_eq!(self_time(&trace), [30, 30, 30, 10]);
}

#[test]
fn attributes_time_to_the_parallel_call_that_ends_last() {
    let trace = trace(&[(1, 0, 0, 100), (2, 1, 10, 40), (3, 1, 10, 90)]);
    assert_eq!(path(&trace), [(1, 0, 10), (3, 10, 90), (1, 90, 100)]);
    assert_eq!(self_time(&trace), [20, 30, 80]);
}

#[test]
fn attributes_time_before_an_overlap_to_the_earlier_call() {
    let trace = trace(&[(1, 0, 0, 100), (2, 1, 0, 60), (3, 1, 50, 100)]);
    assert_eq!(path(&trace), [(2, 0, 50), (3, 50, 100)]);
}

#[test]
fn ignores_time_after_the_end_of_the_root() {
    let trace = trace(&[(1, 0, 0, 100), (2, 1, 90, 500), (3, 2, 200, 400), (4, 1, 300, 400)]);
    assert_eq!(path(&trace), [(1, 0, 90), (2, 90, 100)]);
}

#[test]
fn clips_children_to_their_parent() {
    let trace = trace(&[(1, 0, 100, 200), (2, 1, 50, 150), (3, 1, 180, 180), (4, 1, 190, 170)]);
    assert_eq!(path(&trace), [(2, 100, 150), (1, 150, 200)]);
}

#[test]
fn excludes_the_processing_of_a_message() {
    let named = |name: &str| {
        let value = Value::String(name.to_owned());
        Arc::new(Resource {
            attributes: vec![Attribute { key: "service.name".to_owned(), value }],
            ..Resource::default()
        })
    };
    // 2 produces a message by the call 3; 4 is its time in the queue, 5 its processing.
    let mut trace = trace(&[(1, 0, 0, 100), (2, 1, 10, 90), (3, 2, 20, 70), (4, 2, 50, 95), (5, 2, 60, 99)]);
    for (span, service) in trace.spans.iter_mut().zip(["sender", "sender", "sender", "queue", "receiver"]) {
        span.resource = named(service);
    }
    trace.spans[1].kind = Kind::Producer;
    trace.spans[4].kind = Kind::Consumer;
    assert_eq!(path(&trace), [(1, 0, 10), (2, 10, 20), (3, 20, 70), (2, 70, 90), (1, 90, 100)]);
}

#[test]
fn traces_without_a_root_or_a_duration_have_no_path() {
    assert_eq!(path(&trace(&[])), []);
    assert_eq!(path(&trace(&[(1, 2, 0, 9), (2, 1, 0, 9)])), [], "cycle of parents");
    assert_eq!(path(&trace(&[(1, 0, 9, 9)])), [], "zero duration");
    assert_eq!(path(&trace(&[(1, 0, 9, 3)])), [], "end before start");
}

#[test]
fn counts_spans_with_the_same_id_once() {
    let trace = trace(&[(1, 0, 0, 100), (2, 1, 10, 40), (2, 1, 10, 60), (3, 2, 20, 30)]);
    assert_eq!(path(&trace), [(1, 0, 10), (2, 10, 20), (3, 20, 30), (2, 30, 40), (1, 40, 100)]);
}

#[test]
fn handles_100_000_levels_and_100_000_siblings() {
    let deep: Vec<_> = (1..=100_000).map(|id| (id, id - 1, id, 1_000_000 - id)).collect();
    assert_eq!(path(&trace(&deep)).len(), 199_999);
    let wide: Vec<_> = (1..=100_000).map(|id| (id, u64::from(id != 1), id, 200_000)).collect();
    assert_eq!(path(&trace(&wide)), [(1, 1, 2), (2, 2, 200_000)]);
}

/// Traces with any parents: missing, in a cycle, or the span itself.
fn any_trace() -> impl Strategy<Value = Trace> {
    let any_span = (1..12_u64, 0..12_u64, 0..50_u64, 0..60_u64, 0..6_usize);
    prop::collection::vec(any_span, 0..24).prop_map(|spans| {
        let kinds = [Kind::Internal, Kind::Server, Kind::Client, Kind::Producer, Kind::Consumer];
        let make = |(id, parent, start, end, kind): (u64, u64, u64, u64, usize)| Span {
            kind: kinds[kind % kinds.len()],
            ..span((id, parent, start, end))
        };
        Trace { spans: spans.into_iter().map(make).collect() }
    })
}

proptest! {
    #[test]
    fn segments_partition_the_root(trace in any_trace()) {
        let segments = critical_path(&trace);
        if let Some(root) = trace.root() {
            let root = &trace.spans[root];
            let total: u64 = segments.iter().map(|segment| segment.end_ns - segment.start_ns).sum();
            prop_assert_eq!(total, root.duration_ns());
            if root.duration_ns() > 0 {
                prop_assert_eq!(segments.first().map(|segment| segment.start_ns), Some(root.start_ns));
                prop_assert_eq!(segments.last().map(|segment| segment.end_ns), Some(root.end_ns));
            }
        } else {
            prop_assert!(segments.is_empty());
        }
        for pair in segments.windows(2) {
            prop_assert_eq!(pair[0].end_ns, pair[1].start_ns);
        }
    }

    #[test]
    fn segments_are_within_their_span_and_its_self_time(trace in any_trace()) {
        let own = self_time(&trace);
        let mut on_path = vec![0; trace.spans.len()];
        for segment in critical_path(&trace) {
            let span = &trace.spans[segment.span];
            prop_assert!(segment.start_ns < segment.end_ns);
            prop_assert!(span.start_ns <= segment.start_ns && segment.end_ns <= span.end_ns);
            on_path[segment.span] += segment.end_ns - segment.start_ns;
        }
        for (index, span) in trace.spans.iter().enumerate() {
            prop_assert!(on_path[index] <= own[index], "span {index}: {} > {}", on_path[index], own[index]);
            prop_assert!(own[index] <= span.duration_ns());
        }
    }
}
