use futures::FutureExt as _;

use super::*;

fn queried() -> Answer {
    Answer { cached: false, value: Bytes::from_static(b"[]") }
}

#[tokio::test]
async fn requests_wait_for_the_answer_of_the_leader() {
    let flights = Flights::default();
    let (leader, mut follower) = (flights.join("Math"), flights.join("Math"));
    assert!(leader.leads() && !follower.leads());
    assert!(flights.join("Science").leads(), "another key is another flight");
    let mut waiting = Box::pin(follower.answer_or_lead());
    assert_eq!(waiting.as_mut().now_or_never(), None);
    leader.share(queried());
    assert_eq!(waiting.await, Some(queried()));
}

#[tokio::test]
async fn the_next_request_leads_if_the_leader_leaves_without_an_answer() {
    let flights = Flights::default();
    let leader = flights.join("Math");
    let (mut second, mut third) = (flights.join("Math"), flights.join("Math"));
    drop(leader);
    assert_eq!(second.answer_or_lead().await, None);
    assert!(second.leads());
    assert_eq!(third.answer_or_lead().now_or_never(), None, "one request leads");
    second.share(queried());
    assert_eq!(third.answer_or_lead().await, Some(queried()));
}

#[tokio::test]
async fn a_request_that_comes_after_the_answer_starts_a_new_flight() {
    let flights = Flights::default();
    let leader = flights.join("Math");
    leader.share(queried());
    let next = flights.join("Math");
    assert!(next.leads());
    drop(leader);
    assert!(!flights.join("Math").leads(), "the new flight is not removed with the old one");
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
