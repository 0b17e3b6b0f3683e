//! Adds what a reply shows to the measurements and to the history of the run.

use std::sync::atomic::Ordering;
use std::time::Instant;

use collector::trace::TraceId;

use super::oracle::{Booked, Facts};
use super::request::Request;
use super::{Dispatcher, Session, lock};
use crate::drive::oracle::Expectation;
use crate::measure::history::SeenBooking;
use crate::measure::{Measured, OpenBooking};

/// A request and when it was under way.
pub(super) struct Exchange<'a> {
    pub(super) session: &'a Session,
    pub(super) request: &'a Request,
    pub(super) trace: TraceId,
    pub(super) sent: Instant,
    pub(super) done: Instant,
    /// Number of times that the request was sent again.
    pub(super) retries: u32,
}

impl Exchange<'_> {
    /// Counts the repetitions. Without a conclusive reply, whether a request to book had its effect is an open question.
    pub(super) fn count(&self, measured: &mut Measured, is_inconclusive: bool) {
        if self.retries > 0 {
            *measured.retries.entry(self.request.kind).or_default() += u64::from(self.retries);
        }
        let was_sent = self.request.failed_log_in.is_none();
        if is_inconclusive && was_sent && self.request.key.is_some() {
            let student = self.session.student;
            measured.open.push(OpenBooking { student, trace: self.trace, ended: self.done });
        }
    }
}

/// Adds the facts of a verified reply to the history.
pub(super) fn observe(dispatcher: &Dispatcher, exchange: &Exchange<'_>, facts: &Facts) {
    let (sent, done) = (dispatcher.since_origin(exchange.sent), dispatcher.since_origin(exchange.done));
    let (request, trace) = (exchange.request, exchange.trace);
    if let (Some(offered), Expectation::Slots { tutor, .. }) = (&facts.offered, &request.expect) {
        lock(&dispatcher.history).slots_read(*tutor, offered, sent, trace);
    }
    if let (Some(booked), Expectation::Booked { tutor, .. }) = (&facts.booked, &request.expect) {
        let Booked { booking, lesson, reply } = booked;
        dispatcher.highest_booking.fetch_max(*booking, Ordering::Relaxed);
        let key = request.key.clone().unwrap_or_default();
        let (student, tutor) = (exchange.session.student, *tutor);
        let seen =
            SeenBooking { booking: *booking, student, tutor, lesson: *lesson, trace, key, confirmed: done };
        let mut history = lock(&dispatcher.history);
        history.booked(seen);
        if let Some((first, of_first)) = &request.first_reply {
            history.repeated((first, *of_first), (reply, trace));
        }
    }
    if let Some(booking) = facts.cancelled {
        lock(&dispatcher.history).cancelled(booking, done, trace);
    }
    if !facts.listed.is_empty() {
        let mut history = lock(&dispatcher.history);
        for (booking, is_cancelled) in &facts.listed {
            history.listed(*booking, *is_cancelled, sent, Some(trace));
        }
    }
}
