//! The accepted bookings of a run and what the system's lists say of them.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use collector::trace::TraceId;
use serde::Deserialize;
use system::api::Slot;

use crate::bundle::schema::BookingCounts;
use crate::measure::history::SeenBooking;
use crate::measure::{OpenBooking, summary};

/// A request without a reply made no booking if none is listed this long after its last attempt. The system ends a request
/// after 10 s, and the transaction of a process that stopped after 5 s.
const LATEST_COMMIT: Duration = Duration::from_secs(15);

/// One booking of `GET /bookings`, with the members that are read here.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Listed {
    pub(super) booking_id: i64,
    student_id: i64,
    tutor_id: i64,
    starts_at: Option<DateTime<Utc>>,
    ends_at: Option<DateTime<Utc>>,
    created_at: DateTime<Utc>,
    #[serde(default)]
    cancelled_at: Option<DateTime<Utc>>,
    notified_at: Option<DateTime<Utc>>,
    #[serde(default)]
    parked_at: Option<DateTime<Utc>>,
    deliveries: i64,
    /// Trace of the request that made the booking, 32 hexadecimal digits.
    #[serde(default)]
    trace_id: Option<String>,
}

impl Listed {
    /// Returns whether the booking is cancelled.
    pub(super) fn is_cancelled(&self) -> bool {
        self.cancelled_at.is_some()
    }

    fn is_settled(&self) -> bool {
        self.notified_at.is_some() || self.parked_at.is_some()
    }

    /// Returns the booking as its student would have seen it confirmed at `confirmed`; `None` if it has no time.
    fn seen(&self, confirmed: Duration) -> Option<SeenBooking> {
        let lesson = Slot { starts_at: self.starts_at?, ends_at: self.ends_at? };
        Some(SeenBooking {
            booking: self.booking_id,
            student: self.student_id,
            tutor: self.tutor_id,
            lesson,
            trace: self.trace_id.as_deref().and_then(trace_id)?,
            key: String::new(),
            confirmed,
        })
    }
}

/// The accepted bookings and what is known of their notifications.
#[derive(Debug, Default)]
pub(super) struct Accepted {
    count: usize,
    /// By student.
    pub(super) pending: BTreeMap<i64, Pending>,
    /// The accepted bookings as they were last listed.
    listed: HashMap<i64, Listed>,
    /// The accepted bookings that were not confirmed.
    found: Vec<i64>,
}

/// What is not settled of one student.
#[derive(Debug, Default)]
pub(super) struct Pending {
    /// The bookings that are neither notified nor parked.
    bookings: HashSet<i64>,
    /// The requests that may have made a booking.
    open: Vec<OpenBooking>,
    /// Whether the last read of the student's bookings succeeded.
    pub(super) observed: bool,
}

impl Pending {
    /// Returns the lowest id of a booking that has to be read.
    pub(super) fn oldest(&self) -> i64 {
        match self.open.is_empty() {
            true => self.bookings.iter().min().copied().unwrap_or_default(),
            false => 0,
        }
    }

    fn is_empty(&self) -> bool {
        self.bookings.is_empty() && self.open.is_empty()
    }

    fn len(&self) -> u64 {
        (self.bookings.len() + self.open.len()) as u64
    }
}

impl Accepted {
    /// Returns the bookings that were confirmed, and the requests of unknown outcome; none of them is settled.
    ///
    /// `confirmed` has the ids of a booking and of its student.
    pub(super) fn new(confirmed: impl Iterator<Item = (i64, i64)>, open: &[OpenBooking]) -> Self {
        let mut accepted = Accepted::default();
        for (booking, student) in confirmed {
            accepted.count += 1;
            accepted.pending.entry(student).or_default().bookings.insert(booking);
        }
        for request in open {
            accepted.pending.entry(request.student).or_default().open.push(*request);
        }
        accepted
    }

    /// Returns the number of accepted bookings.
    pub(super) fn count(&self) -> usize {
        self.count
    }

    /// Returns the number of bookings that are notified or parked.
    pub(super) fn settled(&self) -> usize {
        self.listed.values().filter(|booking| booking.is_settled()).count()
    }

    /// Records a student's list, whose read began at `began`. An open request whose booking is listed is accepted.
    pub(super) fn read(&mut self, student: i64, list: Vec<Listed>, began: Instant) {
        let Some(pending) = self.pending.get_mut(&student) else { return };
        pending.observed = true;
        for booking in list {
            if let Some(trace) = booking.trace_id.as_deref().and_then(trace_id) {
                let open = pending.open.len();
                pending.open.retain(|request| request.trace != trace);
                let is_known = self.listed.contains_key(&booking.booking_id);
                if pending.open.len() < open && !is_known && pending.bookings.insert(booking.booking_id) {
                    self.count += 1;
                    self.found.push(booking.booking_id);
                }
            }
            if pending.bookings.contains(&booking.booking_id) {
                if booking.is_settled() {
                    pending.bookings.remove(&booking.booking_id);
                }
                self.listed.insert(booking.booking_id, booking);
            }
        }
        pending.open.retain(|request| began.saturating_duration_since(request.ended) < LATEST_COMMIT);
    }

    /// Forgets the students of whom everything is settled.
    pub(super) fn forget_settled(&mut self) {
        self.pending.retain(|_, pending| !pending.is_empty());
    }

    /// Records that it is unknown whether the pending bookings have been notified.
    pub(super) fn unobserved(&mut self) {
        self.pending.values_mut().for_each(|pending| pending.observed = false);
    }

    /// Returns the accepted bookings as they were last listed.
    pub(super) fn listed(&self) -> impl Iterator<Item = &Listed> {
        self.listed.values()
    }

    /// Returns the accepted bookings that were found in a list, but not confirmed to their students.
    pub(super) fn found(&self, at: Duration) -> impl Iterator<Item = SeenBooking> {
        self.found.iter().filter_map(move |booking| self.listed.get(booking)?.seen(at))
    }

    /// Returns the counts of the report.
    pub(super) fn summary(&self) -> BookingCounts {
        let mut counts = BookingCounts { accepted: self.count as u64, ..BookingCounts::default() };
        let mut waits = Vec::with_capacity(self.listed.len());
        for booking in self.listed.values() {
            counts.cancelled += u64::from(booking.is_cancelled());
            counts.duplicate += u64::try_from(booking.deliveries - 1).unwrap_or_default();
            match booking.notified_at {
                None => counts.parked += u64::from(booking.parked_at.is_some()),
                Some(at) => {
                    counts.notified += 1;
                    let nanos = (at - booking.created_at).num_nanoseconds().unwrap_or(i64::MAX);
                    waits.push(u64::try_from(nanos).unwrap_or_default());
                }
            }
        }
        let pending = |observed: bool| {
            let pending = self.pending.values().filter(|pending| pending.observed == observed);
            pending.map(Pending::len).sum()
        };
        counts.lost = pending(true);
        counts.unknown = pending(false);
        counts.commit_to_notified_us = summary(waits.into_iter());
        counts
    }
}

fn trace_id(text: &str) -> Option<TraceId> {
    u128::from_str_radix(text, 16).ok().map(TraceId)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accepted(students: &[i64], open: &[OpenBooking]) -> Accepted {
        Accepted::new((1..).zip(students.iter().copied()), open)
    }

    fn listed(booking_id: i64, notified_after_ms: Option<i64>, deliveries: i64) -> Listed {
        let created_at = DateTime::UNIX_EPOCH;
        Listed {
            booking_id,
            student_id: 1,
            tutor_id: 9,
            starts_at: Some(created_at),
            ends_at: Some(created_at + chrono::Duration::hours(1)),
            created_at,
            cancelled_at: None,
            notified_at: notified_after_ms.map(|ms| created_at + chrono::Duration::milliseconds(ms)),
            parked_at: None,
            deliveries,
            trace_id: Some(format!("{booking_id:032x}")),
        }
    }

    #[test]
    fn counts_each_accepted_booking_in_one_row() {
        let mut accepted = accepted(&[1, 1, 1, 1, 2], &[]);
        let parked = Listed { parked_at: Some(DateTime::UNIX_EPOCH), ..listed(4, None, 0) };
        let cancelled = Listed { cancelled_at: Some(DateTime::UNIX_EPOCH), ..listed(1, Some(20), 1) };
        accepted.read(1, vec![cancelled, listed(2, Some(40), 3), listed(3, None, 0), parked], Instant::now());
        let counts = accepted.summary();
        assert_eq!((counts.accepted, counts.notified, counts.parked), (5, 2, 1));
        assert_eq!((counts.lost, counts.unknown), (1, 1), "3 has no notification, and 5 was not read");
        assert_eq!((counts.duplicate, counts.cancelled), (2, 1));
        let delay = counts.commit_to_notified_us.unwrap();
        assert!((delay.max - 40_000.0).abs() < 50.0, "{counts:?}");
    }

    #[test]
    fn a_request_without_a_reply_is_accepted_if_its_booking_is_listed() {
        let ended = Instant::now();
        let open = [7, 8].map(|trace| OpenBooking { student: 1, trace: TraceId(trace), ended });
        let mut accepted = accepted(&[], &open);
        assert_eq!(accepted.summary().unknown, 2, "nothing was read");
        accepted.read(1, vec![listed(7, None, 0), listed(6, Some(1), 1)], ended);
        let counts = accepted.summary();
        assert_eq!((counts.accepted, counts.notified), (1, 0), "6 is of another request");
        // The system may still be busy with the other request.
        accepted.read(1, vec![listed(7, Some(30), 1)], ended + LATEST_COMMIT / 2);
        assert!(!accepted.pending[&1].is_empty());
        accepted.read(1, vec![listed(7, Some(30), 1)], ended + LATEST_COMMIT);
        accepted.forget_settled();
        assert!(accepted.pending.is_empty());
        let counts = accepted.summary();
        assert_eq!((counts.accepted, counts.notified, counts.lost, counts.unknown), (1, 1, 0, 0));
        let found: Vec<SeenBooking> = accepted.found(Duration::ZERO).collect();
        assert_eq!((found.len(), found[0].booking, found[0].trace), (1, 7, TraceId(7)));
    }
}
