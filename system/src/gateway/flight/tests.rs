use std::sync::atomic::AtomicUsize;

use tokio::sync::oneshot;

use super::*;
use crate::error::Code;

#[tokio::test]
async fn those_who_miss_together_ask_once() {
    let flights = Flights::default();
    let asked = AtomicUsize::new(0);
    let (first, second) = (flights.join("Math"), flights.join("Math"));
    let (release, held) = oneshot::channel::<()>();
    let ask = || async {
        asked.fetch_add(1, Relaxed);
        Ok(Bytes::from_static(b"[]"))
    };
    let slow = first.flight.answer(async {
        held.await.unwrap();
        ask().await
    });
    let (a, b, ()) = tokio::join!(slow, second.flight.answer(ask()), async { release.send(()).unwrap() });
    assert_eq!((a.unwrap(), b.unwrap()), (Bytes::from_static(b"[]"), Bytes::from_static(b"[]")));
    assert_eq!(asked.load(Relaxed), 1);
}

#[tokio::test]
async fn an_error_is_not_shared_and_an_answer_is_not_kept() {
    let flights = Flights::default();
    let seat = flights.join("Math");
    let failed = seat.flight.answer(async { Err(Code::Unavailable.into()) }).await;
    assert_eq!(failed.unwrap_err().code(), Code::Unavailable);
    let next = seat.flight.answer(async { Ok(Bytes::from_static(b"[]")) }).await;
    assert!(next.is_ok(), "the next in line asks again");
    drop(seat);
    assert!(!flights.join("Math").flight.answer.initialized(), "a later request asks afresh");
}

#[test]
fn a_flight_is_forgotten_when_the_last_has_left() {
    let flights = Flights::default();
    let (first, second) = (flights.join("Math"), flights.join("Math"));
    drop(first);
    assert_eq!(flights.0.lock().unwrap().len(), 1);
    drop(second);
    assert!(flights.0.lock().unwrap().is_empty());
}
