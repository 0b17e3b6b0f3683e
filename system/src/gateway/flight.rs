//! Single flight: concurrent requests that miss the cache for the same key share one query.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use tokio::sync::OnceCell;

use crate::error::Problem;

/// The running queries, by key.
#[derive(Debug, Default)]
pub(super) struct Flights(Mutex<HashMap<String, Arc<Flight>>>);

/// One query that several requests may wait for. A request joins before it reads the cache: if it misses the cache while the
/// query is running, it finds the result here and does not query again.
#[derive(Debug, Default)]
pub(super) struct Flight {
    answer: OnceCell<Bytes>,
    running: AtomicBool,
}

/// A request that takes part in a flight. Leaves it when dropped, also if the request is cancelled.
#[derive(Debug)]
pub(super) struct Participant<'a> {
    flights: &'a Flights,
    key: &'a str,
    pub(super) flight: Arc<Flight>,
}

impl Flights {
    /// Joins the flight of `key`, or starts one.
    pub(super) fn join<'a>(&'a self, key: &'a str) -> Participant<'a> {
        let mut flights = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let flight = match flights.get(key) {
            Some(flight) => Arc::clone(flight),
            None => Arc::clone(flights.entry(key.to_owned()).or_default()),
        };
        Participant { flights: self, key, flight }
    }
}

impl Drop for Participant<'_> {
    /// Removes the flight once it has its result, so that later requests query again, or when the last request leaves it.
    fn drop(&mut self) {
        let mut flights = self.flights.0.lock().unwrap_or_else(PoisonError::into_inner);
        let current = flights.get(self.key).is_some_and(|current| Arc::ptr_eq(current, &self.flight));
        // Two references: the map's and this participant's.
        if current && (self.flight.answer.initialized() || Arc::strong_count(&self.flight) <= 2) {
            flights.remove(self.key);
        }
    }
}

impl Flight {
    /// Returns the result of the query. The first request runs `query`, the others wait for its result. After an error, the
    /// next waiting request runs its own query.
    pub(super) async fn answer(
        &self,
        query: impl Future<Output = Result<Bytes, Problem>>,
    ) -> Result<Bytes, Problem> {
        let follows = self.running.load(Relaxed) && !self.answer.initialized();
        let mut wait = follows.then(|| telemetry::wait_span!("wait flight"));
        let answer = self.answer.get_or_try_init(|| {
            wait = None;
            self.running.store(true, Relaxed);
            query
        });
        answer.await.cloned()
    }
}

#[cfg(test)]
mod tests;
