use std::sync::atomic::AtomicUsize;

use tokio::sync::oneshot;

use super::*;
use crate::error::Code;

#[tokio::test]
async fn concurrent_misses_share_one_query() {
    let flights = Flights::default();
    let queries = AtomicUsize::new(0);
    let (first, second) = (flights.join("Math"), flights.join("Math"));
    let (release, held) = oneshot::channel::<()>();
    let query = || async {
        queries.fetch_add(1, Relaxed);
        Ok(Bytes::from_static(b"[]"))
    };
    let slow = first.flight.answer(async {
        held.await.unwrap();
        query().await
    });
    let (a, b, ()) = tokio::join!(slow, second.flight.answer(query()), async { release.send(()).unwrap() });
    assert_eq!((a.unwrap(), b.unwrap()), (Bytes::from_static(b"[]"), Bytes::from_static(b"[]")));
    assert_eq!(queries.load(Relaxed), 1);
}

#[tokio::test]
async fn errors_are_not_shared_and_results_are_not_kept() {
    let flights = Flights::default();
    let seat = flights.join("Math");
    let failed = seat.flight.answer(async { Err(Code::Unavailable.into()) }).await;
    assert_eq!(failed.unwrap_err().code(), Code::Unavailable);
    let next = seat.flight.answer(async { Ok(Bytes::from_static(b"[]")) }).await;
    assert!(next.is_ok(), "the next request runs its own query");
    drop(seat);
    assert!(!flights.join("Math").flight.answer.initialized(), "a later request queries again");
}

#[test]
fn a_flight_is_removed_when_the_last_request_leaves() {
    let flights = Flights::default();
    let (first, second) = (flights.join("Math"), flights.join("Math"));
    drop(first);
    assert_eq!(flights.0.lock().unwrap().len(), 1);
    drop(second);
    assert!(flights.0.lock().unwrap().is_empty());
}
