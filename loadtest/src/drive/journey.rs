//! One journey: its requests in sequence, each at its due instant.

use std::iter::Peekable;
use std::time::Instant;

use chrono::{DateTime, Utc};
use collector::trace::TraceId;
use goose::prelude::*;
use system::api::Slot;

use super::oracle::Facts;
use super::request::Request;
use super::{Dispatcher, Session, send};
use crate::plan::PlannedJourney;

/// What the requests of a journey have led to so far.
#[derive(Debug, Default)]
pub(super) struct JourneyState {
    /// Id of its booking.
    pub(super) booked: Option<i64>,
    /// The free slots that it saw.
    pub(super) offered: Vec<Slot>,
    /// Its request to book.
    pub(super) request: Option<BookingRequest>,
}

/// A request to book, which may be repeated.
#[derive(Clone, Debug)]
pub(super) struct BookingRequest {
    pub(super) key: String,
    pub(super) starts_at: Option<DateTime<Utc>>,
    /// The confirmation and its trace.
    pub(super) reply: Option<(String, TraceId)>,
}

impl JourneyState {
    /// Records a request to book before it is sent.
    fn sending(&mut self, request: &Request) {
        if let Some(key) = request.key.clone() {
            let reply = request.first_reply.clone();
            self.request = Some(BookingRequest { key, starts_at: request.starts_at, reply });
        }
    }

    /// Records a verified reply.
    fn replied(&mut self, facts: Facts, trace: TraceId) {
        if let Some(booked) = facts.booked {
            self.booked = Some(booked.booking);
            if let Some(request) = &mut self.request {
                request.reply.get_or_insert((booked.reply, trace));
            }
        }
        if let Some(offered) = facts.offered {
            self.offered = offered;
        }
    }
}

/// Runs a journey at its position in the plan.
pub(super) async fn run(
    user: &mut GooseUser,
    dispatcher: &Dispatcher,
    session: &Session,
    zero: Instant,
    (position, planned): (usize, PlannedJourney),
) -> TransactionResult {
    let mut delays = session.delays.begin(Instant::now());
    let (mut state, mut last) = (JourneyState::default(), None);
    let mut steps: Peekable<_> = planned.steps.iter().enumerate().peekable();
    while let Some((index, step)) = steps.next() {
        let due = zero + step.due;
        let delay = delays.of(due);
        if !dispatcher.wait(due).await {
            break;
        }
        let key = format!("{}-{position}.{index}", dispatcher.keys);
        let request = Request::of(&step.action, session, dispatcher, &state, key);
        let timing = send::Timing { due, epoch: zero, warm_up: false, delay };
        state.sending(&request);
        let sent = Instant::now();
        let (facts, trace) = send::send(user, dispatcher, session, request, timing).await?;
        state.replied(facts.unwrap_or_default(), trace);
        last = Some((due, delay));
        if let Some((_, next)) = steps.peek() {
            delays.replied(due, delay, sent, Instant::now(), zero + next.due);
        }
    }
    if let (Some((due, delay)), Some(session)) = (last, user.get_session_data_mut::<Session>()) {
        session.delays.end(due, delay, Instant::now());
    }
    Ok(())
}
