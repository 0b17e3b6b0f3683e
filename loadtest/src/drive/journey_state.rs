//! What a journey has seen, on which its next requests depend.

use chrono::{DateTime, Utc};
use collector::trace::TraceId;
use system::api::Slot;

use super::oracle::Facts;

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
    /// Records a verified reply.
    pub(super) fn replied(&mut self, facts: Facts, trace: TraceId) {
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
