//! Single flight: those who miss the cache for one key at one time share one query.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
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
        let follows = self.under_way.load(Relaxed) && !self.answer.initialized();
        let mut wait = follows.then(|| telemetry::wait_span!("wait flight"));
        let answer = self.answer.get_or_try_init(|| {
            wait = None;
            self.under_way.store(true, Relaxed);
            ask
        });
        answer.await.cloned()
    }
}

#[cfg(test)]
mod tests;
