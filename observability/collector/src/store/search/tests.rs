use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message as _;

use super::*;
use crate::fixture::{proto_resource, proto_span};
use crate::store::{Encoded, SpanBatch};

/// Stores a call from `shop` to `cart`, whose two spans share an id, with names of `name` bytes.
fn insert_call(store: &Store, trace_id: u128, name: usize) {
    for (service, kind) in [("shop", 3), ("cart", 2)] {
        let resource = proto_resource(service).encode_to_vec();
        let span = Span { kind, name: "n".repeat(name), ..proto_span(trace_id, 7) }.encode_to_vec();
        let mut batch = SpanBatch::with_capacity(0);
        batch.begin_group(Encoded { message: &resource, schema: b"" }, Encoded::default()).unwrap();
        batch.push(&span).unwrap();
        store.insert(&batch);
    }
}

#[test]
fn traces_with_shared_ids_are_copied_under_the_lock_piece_by_piece() {
    let store = Store::new(256 << 20);
    (1..=4).for_each(|trace_id| insert_call(&store, trace_id, MAX_COPIED_BYTES / 3));
    let (mut calls, mut copied, mut before) = (Calls::new(), 0, u64::MAX);
    while before > 0 {
        let (uncounted, rest) = store.lock().count_calls(&(0..=u64::MAX), before, &mut calls);
        assert!(uncounted.len() <= 2, "{} large traces", uncounted.len());
        copied += uncounted.len();
        before = rest;
    }
    assert_eq!((copied, calls.len()), (4, 0), "nothing is counted, since nothing is decoded");
    let edge = (("shop".to_owned(), "cart".to_owned()), 4);
    assert_eq!(store.dependencies(&(0..=u64::MAX)).into_iter().collect::<Vec<_>>(), [edge]);
}
