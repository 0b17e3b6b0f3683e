//! One journey: its requests in sequence, each at its due instant.

use std::iter::Peekable;
use std::time::Instant;

use goose::prelude::*;

use super::journey_state::{BookingRequest, JourneyState};
use super::request::Request;
use super::{Dispatcher, Session, send};
use crate::plan::PlannedJourney;

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
        if let Some(key) = request.key.clone() {
            let reply = request.first_reply.clone();
            state.request = Some(BookingRequest { key, starts_at: request.starts_at, reply });
        }
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
