use super::*;
use crate::fixture::span;
use crate::store::EvictionReason;
use crate::trace::{Attribute, Kind, Link, SpanId, Status, StatusCode, Value};

/// A client call, the server span that answered it, a message that the server sent, and its consumer.
fn complete() -> Trace {
    let mut spans: Vec<Span> =
        [(1, 0, 0, 90), (2, 1, 10, 80), (3, 2, 20, 70), (4, 3, 75, 99)].into_iter().map(span).collect();
    for (span, kind) in spans.iter_mut().zip([Kind::Client, Kind::Server, Kind::Producer, Kind::Consumer]) {
        span.kind = kind;
    }
    let value = Value::String(SpanId(2).to_string());
    spans[0].attributes.push(Attribute { key: "peer.span_id".to_owned(), value });
    Trace { spans }
}

fn row(trace: Trace) -> LedgerRow {
    classify(&Lookup::Stored(trace), false).0
}

#[test]
fn a_trace_without_gaps_is_complete() {
    assert_eq!(row(complete()), LedgerRow::Complete);
}

#[test]
fn a_reported_drop_counts_even_without_a_gap() {
    let (row, why) = classify(&Lookup::Stored(complete()), true);
    assert_eq!(row, LedgerRow::DroppedByExporter);
    assert!(why.contains("no gap"), "{why}");
}

#[test]
fn a_trace_that_lacks_any_span_is_incomplete() {
    let rows = [
        (0, LedgerRow::Orphaned),
        (1, LedgerRow::Orphaned),
        (2, LedgerRow::Orphaned),
        (3, LedgerRow::Missing),
    ];
    for (missing, expected) in rows {
        let mut trace = complete();
        trace.spans.remove(missing);
        assert_eq!(row(trace), expected, "without span {missing}");
    }
}

#[test]
fn detects_a_missing_server_span_from_the_client_span() {
    let mut trace = complete();
    trace.spans.truncate(1);
    let (row, why) = classify(&Lookup::Stored(trace), false);
    assert_eq!(row, LedgerRow::Missing);
    assert!(why.contains("0000000000000002"), "{why}");
}

#[test]
fn a_link_within_the_trace_counts_as_receiving_the_message() {
    let mut trace = complete();
    trace.spans[3].parent = Some(SpanId(1));
    assert_eq!(row(trace.clone()), LedgerRow::Missing, "a consumer that is the child of another span");
    let link = |trace_id| Link {
        trace_id: Some(TraceId(trace_id)),
        span_id: Some(SpanId(3)),
        trace_state: String::new(),
        attributes: Vec::new(),
        dropped_attributes: 0,
        flags: 0,
    };
    trace.spans[3].links.push(link(2));
    assert_eq!(row(trace.clone()), LedgerRow::Missing, "a link into another trace");
    trace.spans[3].links.push(link(1));
    assert_eq!(row(trace), LedgerRow::Complete);
}

#[test]
fn a_failed_send_needs_no_receiver() {
    let mut trace = complete();
    trace.spans.pop();
    trace.spans[2].status = Status { code: StatusCode::Error, ..Status::default() };
    assert_eq!(row(trace), LedgerRow::Complete);
}

#[test]
fn two_roots_and_cyclic_parents_are_incomplete() {
    let mut trace = complete();
    trace.spans.push(span((9, 0, 0, 1)));
    assert_eq!(row(trace), LedgerRow::Missing);
    let cycle = Trace { spans: [(1, 2, 0, 1), (2, 1, 0, 1)].into_iter().map(span).collect() };
    assert_eq!(row(cycle), LedgerRow::Missing);
}

#[test]
fn duplicate_spans_do_not_matter() {
    let mut trace = complete();
    trace.spans.extend(complete().spans);
    assert_eq!(row(trace), LedgerRow::Complete);
}

fn eviction(was_complete: Option<bool>) -> Lookup {
    Lookup::Evicted(Eviction { reason: EvictionReason::Old, was_complete })
}

#[test]
fn an_evicted_trace_is_in_the_row_of_its_state_at_that_time() {
    for (was_complete, dropped, expected) in [
        (Some(true), false, LedgerRow::CompleteThenEvicted),
        (Some(false), false, LedgerRow::IncompleteThenEvicted),
        (Some(true), true, LedgerRow::IncompleteThenEvicted),
        (None, true, LedgerRow::IncompleteThenEvicted),
        (None, false, LedgerRow::Evicted),
    ] {
        assert_eq!(classify(&eviction(was_complete), dropped).0, expected, "{was_complete:?} {dropped}");
    }
}

#[test]
fn losses_are_listed_before_traces_that_were_complete() {
    let mut ledger = Ledger::default();
    (1..=25).for_each(|id| ledger.enter(TraceId(id), 1, &eviction(Some(true)), false));
    let mut other = Ledger::default();
    (31..=33).for_each(|id| other.enter(TraceId(id), 1, &Lookup::Unknown, false));
    ledger.merge(other);
    let listed: Vec<u128> = ledger.examples.iter().map(|example| example.trace_id.0).collect();
    assert_eq!(listed[..4], [31, 32, 33, 1]);
    assert_eq!(
        (listed.len(), ledger.expected, ledger.missing, ledger.complete_then_evicted),
        (20, 28, 3, 25)
    );
}

#[test]
fn reads_the_ledger_of_an_older_file() {
    let text = r#"{"expected":3,"complete":1,"dropped_by_exporter":0,"evicted":2,"orphaned":0,"missing":0,
        "examples":[{"trace_id":"1","row":"evicted","why":"old"}]}"#;
    let ledger: Ledger = serde_json::from_str(text).unwrap();
    assert_eq!((ledger.evicted, ledger.complete_then_evicted, ledger.incomplete_then_evicted), (2, 0, 0));
    assert_eq!(ledger.examples[0].row, LedgerRow::Evicted);
}

#[test]
fn eviction_precedes_a_reported_drop_which_precedes_the_rest() {
    assert_eq!(classify(&eviction(Some(true)), true).0, LedgerRow::IncompleteThenEvicted);
    assert_eq!(classify(&Lookup::Unknown, true).0, LedgerRow::DroppedByExporter);
    assert_eq!(classify(&Lookup::Unknown, false).0, LedgerRow::Missing);
    let mut orphaned = complete();
    orphaned.spans.remove(0);
    assert_eq!(classify(&Lookup::Stored(orphaned), true).0, LedgerRow::DroppedByExporter);
}

#[test]
fn rows_sum_to_expected_and_examples_are_bounded() {
    let mut ledger = Ledger::default();
    ledger.enter(TraceId(1), 1, &Lookup::Stored(complete()), false);
    for id in 2..40 {
        ledger.enter(TraceId(id), 1, &Lookup::Unknown, id % 2 == 0);
    }
    ledger.enter(TraceId(40), 1, &eviction(Some(true)), false);
    ledger.enter(TraceId(41), 1, &eviction(Some(false)), false);
    let Ledger {
        expected,
        complete,
        dropped_by_exporter,
        evicted,
        orphaned,
        missing,
        examples,
        evicted_by_reason,
        complete_then_evicted,
        incomplete_then_evicted,
    } = &ledger;
    assert_eq!(evicted_by_reason.values().sum::<u64>(), *evicted);
    assert_eq!(*expected, 41);
    assert_eq!(complete + dropped_by_exporter + evicted + orphaned + missing, 41);
    assert_eq!((*complete, *evicted, *dropped_by_exporter, *missing), (1, 2, 19, 19));
    assert_eq!((*complete_then_evicted, *incomplete_then_evicted), (1, 1));
    assert_eq!(examples.len(), MAX_EXAMPLES);
    let json = serde_json::to_value(&examples[0]).unwrap();
    assert_eq!(json["trace_id"], "00000000000000000000000000000002");
    assert_eq!(json["row"], "dropped_by_exporter");
}
