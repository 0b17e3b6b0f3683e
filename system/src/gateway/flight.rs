//! Single flight inside one gateway: concurrent requests that miss the cache for the same key share one answer.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The flights with at least one request, by key.
#[derive(Debug, Default)]
pub(super) struct Flights(Mutex<HashMap<String, Arc<Flight>>>);

/// The answer to a request, from the cache or from a query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Answer {
    /// Whether the value came from the cache.
    pub(super) cached: bool,
    /// The value, as JSON text.
    pub(super) value: Bytes,
}

/// Requests for one key. One of them leads: it looks for the answer. The others wait for it, or for the lead.
#[derive(Debug)]
struct Flight {
    answer: OnceLock<Answer>,
    /// One permit, the lead. Closed once there is an answer.
    lead: Arc<Semaphore>,
}

/// A request that takes part in a flight. Leaves it when dropped, also if the request is cancelled.
#[derive(Debug)]
pub(super) struct Participant<'a> {
    flights: &'a Flights,
    key: &'a str,
    flight: Arc<Flight>,
    lead: Option<OwnedSemaphorePermit>,
}

impl Flights {
    /// Joins the flight of `key`, or starts one and leads it. A request joins before it reads the cache, so that it does not
    /// miss an answer that arrives after its read.
    pub(super) fn join<'a>(&'a self, key: &'a str) -> Participant<'a> {
        let mut flights = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let flight = match flights.get(key).filter(|flight| flight.answer.get().is_none()) {
            Some(flight) => Arc::clone(flight),
            None => {
                let flight = Flight { answer: OnceLock::new(), lead: Arc::new(Semaphore::new(1)) };
                let flight = Arc::new(flight);
                flights.insert(key.to_owned(), Arc::clone(&flight));
                flight
            }
        };
        let lead = Arc::clone(&flight.lead).try_acquire_owned().ok();
        Participant { flights: self, key, flight, lead }
    }
}

impl Participant<'_> {
    /// Returns whether this request leads.
    pub(super) fn leads(&self) -> bool {
        self.lead.is_some()
    }

    /// Waits for the answer. Returns `None` if the leader left without one and this request leads now.
    pub(super) async fn answer_or_lead(&mut self) -> Option<Answer> {
        let wait = telemetry::wait_span!("wait flight");
        let lead = Arc::clone(&self.flight.lead).acquire_owned().await;
        drop(wait);
        self.lead = lead.ok();
        // The semaphore is closed after the answer is set.
        self.flight.answer.get().cloned()
    }

    /// Gives `answer` to all requests of the flight. Later requests start a new one.
    pub(super) fn share(&self, answer: Answer) {
        // Only the leader shares, and only once.
        let _ = self.flight.answer.set(answer);
        self.flight.lead.close();
    }
}

impl Drop for Participant<'_> {
    /// Removes the flight once it has its answer, or when the last request leaves it.
    fn drop(&mut self) {
        let mut flights = self.flights.0.lock().unwrap_or_else(PoisonError::into_inner);
        let current = flights.get(self.key).is_some_and(|current| Arc::ptr_eq(current, &self.flight));
        // Two references: the map's and this participant's.
        if current && (self.flight.answer.get().is_some() || Arc::strong_count(&self.flight) <= 2) {
            flights.remove(self.key);
        }
    }
}

#[cfg(test)]
mod tests;
