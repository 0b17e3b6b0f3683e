//! Single flight: those who miss the cache for one key at one time share one query.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use bytes::Bytes;
use observability::telemetry::tracer;
use opentelemetry::Context;
use opentelemetry::trace::Tracer as _;
use tokio::sync::OnceCell;

use crate::error::Problem;

/// The queries under way, by key.
#[derive(Debug, Default)]
pub(super) struct Flights(Mutex<HashMap<String, Arc<Flight>>>);

/// One query that several requests may wait for. Joined before the cache is asked: whoever missed the cache while the
/// query was under way then finds its answer here, and does not ask again.
#[derive(Debug, Default)]
pub(super) struct Flight {
    answer: OnceCell<Bytes>,
    under_way: AtomicBool,
}

/// A request's part in a flight, given up when it is dropped: also when the request itself is, half-way.
#[derive(Debug)]
pub(super) struct Seat<'a> {
    flights: &'a Flights,
    key: &'a str,
    pub(super) flight: Arc<Flight>,
}

impl Flights {
    /// A seat on the flight that a request for `key` belongs to.
    pub(super) fn join<'a>(&'a self, key: &'a str) -> Seat<'a> {
        let mut flights = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let flight = match flights.get(key) {
            Some(flight) => Arc::clone(flight),
            None => Arc::clone(flights.entry(key.to_owned()).or_default()),
        };
        Seat { flights: self, key, flight }
    }
}

impl Drop for Seat<'_> {
    /// The key is forgotten once its answer is there (later requests must ask afresh) or when nobody else is on the
    /// flight.
    fn drop(&mut self) {
        let mut flights = self.flights.0.lock().unwrap_or_else(PoisonError::into_inner);
        let current = flights.get(self.key).is_some_and(|current| Arc::ptr_eq(current, &self.flight));
        // Two: the map's own and this seat's.
        if current && (self.flight.answer.initialized() || Arc::strong_count(&self.flight) <= 2) {
            flights.remove(self.key);
        }
    }
}

impl Flight {
    /// The flight's answer; the first to come asks, the others wait. After an error the next one in line asks.
    pub(super) async fn answer(
        &self,
        ask: impl Future<Output = Result<Bytes, Problem>>,
    ) -> Result<Bytes, Problem> {
        let started = SystemTime::now();
        let follows = self.under_way.load(Relaxed) && !self.answer.initialized();
        let mut asked = false;
        let answer = self.answer.get_or_try_init(|| {
            asked = true;
            self.under_way.store(true, Relaxed);
            ask
        });
        let answer = answer.await.cloned();
        if follows && !asked {
            let builder = tracer().span_builder("wait flight").with_start_time(started);
            drop(tracer().build_with_context(builder, &Context::current()));
        }
        answer
    }
}

#[cfg(test)]
mod tests {
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
}
