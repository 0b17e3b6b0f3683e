use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message as _;

use super::*;
use crate::fixture::{proto_attribute, proto_resource, proto_span, proto_text};
use crate::store::{Encoded, SpanBatch};

/// A store with room for `traces`: id, duration in milliseconds and length of an attribute in bytes.
fn store(traces: impl IntoIterator<Item = (u128, u64, usize)>) -> Store {
    let store = Store::new(256 << 20);
    traces.into_iter().for_each(|trace| insert(&store, trace));
    store
}

fn insert(store: &Store, (id, ms, length): (u128, u64, usize)) {
    const START: u64 = 1_795_455_811_000_000_000;
    let span = Span {
        name: "GET /cart".to_owned(),
        start_time_unix_nano: START,
        end_time_unix_nano: START + ms * 1_000_000,
        attributes: vec![proto_attribute("padding", proto_text(&"x".repeat(length)))],
        ..proto_span(id, 1)
    };
    let (resource, span) = (proto_resource("shop").encode_to_vec(), span.encode_to_vec());
    let mut batch = SpanBatch::with_capacity(0);
    batch.begin_group(Encoded { message: &resource, schema: b"" }, Encoded::default()).unwrap();
    batch.push(&span).unwrap();
    store.insert(&batch);
}

fn query(operation: Option<&str>, limit: usize) -> Query {
    Query {
        service: Some("shop".to_owned()),
        operation: operation.map(str::to_owned),
        tags: Vec::new(),
        start_ns: 0..=u64::MAX,
        duration_ns: 0..=u64::MAX,
        limit,
    }
}

fn ids(page: &ResultPage) -> Vec<u128> {
    page.traces.iter().map(|id| id.0).collect()
}

#[test]
fn pages_follow_one_another_while_traces_arrive() {
    for operation in [None, Some("GET /cart")] {
        let store = store((1..=190).map(|id| (id, 1, 10)));
        let query = query(operation, 20);
        let first = store.result_page(&query, SortOrder::Latest, None);
        assert_eq!(ids(&first), (171..=190).rev().collect::<Vec<u128>>());
        assert_eq!((first.before, first.total, first.is_counted), (0, 190, true));

        (191..=200).for_each(|id| insert(&store, (id, 1, 10)));
        let second = store.result_page(&query, SortOrder::Latest, first.next);
        assert_eq!(ids(&second), (151..=170).rev().collect::<Vec<u128>>());
        assert_eq!((second.before, second.total), (30, 200));

        let mut last = second;
        while let Some(next) = last.next {
            last = store.result_page(&query, SortOrder::Latest, Some(next));
        }
        assert_eq!((ids(&last), last.before), ((1..=10).rev().collect(), 190));
    }
}

#[test]
fn sorts_the_longest_first_and_traces_of_one_length_by_arrival() {
    let store = store([(1, 5, 1), (2, 9, 1), (3, 7, 1), (4, 9, 1), (5, 1, 1)]);
    let first = store.result_page(&query(None, 3), SortOrder::Longest, None);
    assert_eq!(ids(&first), [4, 2, 3]);
    insert(&store, (6, 8, 1));
    let second = store.result_page(&query(None, 3), SortOrder::Longest, first.next);
    assert_eq!((ids(&second), second.before, second.total, second.next), (vec![1, 5], 4, 6, None));
}

#[test]
fn a_page_without_matches_has_no_successor() {
    let store = store([(1, 1, 1)]);
    let page = store.result_page(&query(Some("GET /nothing"), 20), SortOrder::Latest, None);
    assert_eq!(page, ResultPage { traces: vec![], before: 0, total: 0, is_counted: true, next: None });
}

#[test]
fn counting_stops_at_its_bound_but_pages_do_not() {
    // 50 traces of 1 MiB exceed what is decoded to count.
    let store = store((1..=50).map(|id| (id, id as u64, 1 << 20)));
    let query = query(Some("GET /cart"), 10);
    let mut page = store.result_page(&query, SortOrder::Latest, None);
    assert!(!page.is_counted && page.total < 50, "{}", page.total);
    let mut all = ids(&page);
    while let Some(next) = page.next {
        page = store.result_page(&query, SortOrder::Latest, Some(next));
        all.extend(ids(&page));
    }
    assert_eq!(all, (1..=50).rev().collect::<Vec<u128>>());
}

#[test]
fn a_position_is_restored_from_its_text() {
    let position = Position { duration_ns: 7, sequence: u64::MAX };
    assert_eq!(position.to_string().parse(), Ok(position));
    for text in ["", "1", "1-", "-1", "1-2-3", "a-b"] {
        assert_eq!(text.parse::<Position>(), Err(ParsePositionError), "{text:?}");
    }
}
