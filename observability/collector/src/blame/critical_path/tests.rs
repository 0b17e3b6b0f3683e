use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::fixture::span;
use crate::trace::{Attribute, Resource, Value};

fn trace(spans: &[(u64, u64, u64, u64)]) -> Trace {
    Trace { spans: spans.iter().copied().map(span).collect() }
}

/// The path as `(span id, start, end)`.
fn path(trace: &Trace) -> Vec<(u64, u64, u64)> {
    let name = |segment: Segment| (trace.spans[segment.span].span_id.0, segment.start_ns, segment.end_ns);
    critical_path(trace).into_iter().map(name).collect()
}

#[test]
fn calls_one_after_another_each_own_their_time() {
    let trace = trace(&[(1, 0, 0, 100), (2, 1, 10, 40), (3, 1, 50, 90), (4, 3, 60, 70)]);
    assert_eq!(
        path(&trace),
        [(1, 0, 10), (2, 10, 40), (1, 40, 50), (3, 50, 60), (4, 60, 70), (3, 70, 90), (1, 90, 100)]
    );
    assert_eq!(self_time(&trace), [30, 30, 30, 10]);
}

#[test]
fn of_parallel_calls_the_one_that_ends_last_is_waited_for() {
    let trace = trace(&[(1, 0, 0, 100), (2, 1, 10, 40), (3, 1, 10, 90)]);
    assert_eq!(path(&trace), [(1, 0, 10), (3, 10, 90), (1, 90, 100)]);
    assert_eq!(self_time(&trace), [20, 30, 80]);
}

#[test]
fn before_an_overlapping_call_the_earlier_one_owns_the_time() {
    let trace = trace(&[(1, 0, 0, 100), (2, 1, 0, 60), (3, 1, 50, 100)]);
    assert_eq!(path(&trace), [(2, 0, 50), (3, 50, 100)]);
}

#[test]
fn nothing_after_the_roots_end_counts() {
    let trace = trace(&[(1, 0, 0, 100), (2, 1, 90, 500), (3, 2, 200, 400), (4, 1, 300, 400)]);
    assert_eq!(path(&trace), [(1, 0, 90), (2, 90, 100)]);
}

#[test]
fn a_child_whose_clock_is_ahead_or_behind_is_cut_to_its_parent() {
    let trace = trace(&[(1, 0, 100, 200), (2, 1, 50, 150), (3, 1, 180, 180), (4, 1, 190, 170)]);
    assert_eq!(path(&trace), [(2, 100, 150), (1, 150, 200)]);
}

#[test]
fn nobody_waits_for_what_becomes_of_a_message() {
    let named = |name: &str| {
        let value = Value::String(name.to_owned());
        Arc::new(Resource {
            attributes: vec![Attribute { key: "service.name".to_owned(), value }],
            ..Resource::default()
        })
    };
    // 2 sends (3 is the call that does it), 4 is the message waiting in the queue, 5 its processing.
    let mut trace = trace(&[(1, 0, 0, 100), (2, 1, 10, 90), (3, 2, 20, 70), (4, 2, 50, 95), (5, 2, 60, 99)]);
    for (span, service) in trace.spans.iter_mut().zip(["sender", "sender", "sender", "queue", "receiver"]) {
        span.resource = named(service);
    }
    trace.spans[1].kind = Kind::Producer;
    trace.spans[4].kind = Kind::Consumer;
    assert_eq!(path(&trace), [(1, 0, 10), (2, 10, 20), (3, 20, 70), (2, 70, 90), (1, 90, 100)]);
}

#[test]
fn traces_without_a_path_have_none() {
    assert_eq!(path(&trace(&[])), []);
    assert_eq!(path(&trace(&[(1, 2, 0, 9), (2, 1, 0, 9)])), [], "parents in a circle");
    assert_eq!(path(&trace(&[(1, 0, 9, 9)])), [], "no time");
    assert_eq!(path(&trace(&[(1, 0, 9, 3)])), [], "a clock that stepped back");
}

#[test]
fn two_spans_with_one_id_do_not_count_twice() {
    let trace = trace(&[(1, 0, 0, 100), (2, 1, 10, 40), (2, 1, 10, 60), (3, 2, 20, 30)]);
    assert_eq!(path(&trace), [(1, 0, 10), (2, 10, 20), (3, 20, 30), (2, 30, 40), (1, 40, 100)]);
}

#[test]
fn a_very_deep_and_a_very_wide_trace_are_no_trouble() {
    let deep: Vec<_> = (1..=100_000).map(|id| (id, id - 1, id, 1_000_000 - id)).collect();
    assert_eq!(path(&trace(&deep)).len(), 199_999);
    let wide: Vec<_> = (1..=100_000).map(|id| (id, u64::from(id != 1), id, 200_000)).collect();
    assert_eq!(path(&trace(&wide)), [(1, 1, 2), (2, 2, 200_000)]);
}

/// Any tree and some that are none: parents may be missing, in a circle, or the span itself.
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
    fn segments_cover_the_root_exactly_once(trace in any_trace()) {
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
    fn a_segment_lies_within_its_span_and_its_self_time(trace in any_trace()) {
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
