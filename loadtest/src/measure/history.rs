//! What clients saw of bookings and free slots, and which of it a correct system never shows.
//!
//! Pure: the caller gives the times, measured from one instant. Two observations contradict each other only if their order is
//! certain: one had ended before the other began.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use collector::trace::TraceId;
use system::api::Slot;

mod overlaps;
#[cfg(test)]
mod tests;

/// Maximum age of a read of free slots. The gateways cache them for 30 s; a booking deletes them through the outbox, usually
/// within 10 ms. If the process that does so is killed, another one repeats the deletion after 5 s and polls each second.
pub(crate) const STALENESS_BOUND: Duration = Duration::from_secs(10);
/// Maximum number of contradictions of one kind that are kept with their reasons.
const MAX_EXAMPLES: usize = 5;

/// The kinds of contradictions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Anomaly {
    /// Two bookings of one tutor, or of one student, overlap.
    DoubleBooking,
    /// One slot of one tutor was booked twice.
    SoldTwice,
    /// A cancelled booking was listed as not cancelled.
    CameBack,
    /// A read offered a slot that had been booked for longer than [`STALENESS_BOUND`].
    StaleRead,
    /// Two requests with one key got different replies, or two keys got one booking.
    KeyReplies,
}

impl Anomaly {
    /// Every kind, in the order of the report.
    pub(crate) const ALL: [Anomaly; 5] = [
        Anomaly::DoubleBooking,
        Anomaly::SoldTwice,
        Anomaly::CameBack,
        Anomaly::StaleRead,
        Anomaly::KeyReplies,
    ];

    /// Returns the name used in the report.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Anomaly::DoubleBooking => "double booking",
            Anomaly::SoldTwice => "slot sold twice",
            Anomaly::CameBack => "cancelled booking came back",
            Anomaly::StaleRead => "stale read",
            Anomaly::KeyReplies => "different replies to a key",
        }
    }
}

/// The contradictions of one kind.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Contradictions {
    /// Number of contradictions.
    pub(crate) count: u64,
    /// The first ones.
    pub(crate) examples: Vec<Contradiction>,
}

/// Observations that contradict each other.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Contradiction {
    /// What was seen.
    pub(crate) why: String,
    /// The traces of the requests that saw it.
    pub(crate) traces: Vec<TraceId>,
}

/// A booking that the system confirmed.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct SeenBooking {
    /// Id of the booking.
    pub(crate) booking: i64,
    /// Id of the student.
    pub(crate) student: i64,
    /// Id of the tutor.
    pub(crate) tutor: i64,
    /// The time of the lesson.
    pub(crate) lesson: Slot,
    /// Trace of the request that made it.
    pub(crate) trace: TraceId,
    /// Its idempotency key.
    pub(crate) key: String,
    /// When the confirmation had arrived.
    pub(crate) confirmed: Duration,
}

/// A confirmed booking and its cancellation.
#[derive(Clone, Debug)]
struct Entry {
    seen: SeenBooking,
    /// When the first request to cancel it was sent.
    cancelling: Option<Duration>,
    /// When its cancellation was confirmed, and by which request.
    cancelled: Option<(Duration, TraceId)>,
    /// Whether the last list showed it as cancelled.
    listed_as_cancelled: bool,
}

/// The observations of a run.
#[derive(Debug, Default)]
pub(crate) struct History {
    entries: BTreeMap<i64, Entry>,
    by_tutor: HashMap<i64, Vec<i64>>,
    contradictions: BTreeMap<Anomaly, Contradictions>,
}

impl History {
    /// Records a confirmed booking.
    pub(crate) fn booked(&mut self, seen: SeenBooking) {
        if let Some(entry) = self.entries.get(&seen.booking) {
            if entry.seen.key == seen.key {
                return;
            }
            let why = format!("booking {} was confirmed to two requests with different keys", seen.booking);
            let traces = vec![entry.seen.trace, seen.trace];
            return self.add(Anomaly::KeyReplies, why, traces);
        }
        self.by_tutor.entry(seen.tutor).or_default().push(seen.booking);
        let entry = Entry { cancelling: None, cancelled: None, listed_as_cancelled: false, seen };
        self.entries.insert(entry.seen.booking, entry);
    }

    /// Records that a request to cancel a booking is sent.
    pub(crate) fn cancelling(&mut self, booking: i64, at: Duration) {
        if let Some(entry) = self.entries.get_mut(&booking) {
            entry.cancelling.get_or_insert(at);
        }
    }

    /// Records a confirmed cancellation.
    pub(crate) fn cancelled(&mut self, booking: i64, at: Duration, trace: TraceId) {
        if let Some(entry) = self.entries.get_mut(&booking) {
            entry.cancelled.get_or_insert((at, trace));
        }
    }

    /// Records the free slots of a tutor, as a request that was sent at `sent` read them.
    pub(crate) fn slots_read(&mut self, tutor: i64, offered: &[Slot], sent: Duration, trace: TraceId) {
        let Some(bound) = sent.checked_sub(STALENESS_BOUND) else { return };
        let booked = self.by_tutor.get(&tutor).into_iter().flatten();
        let stale = booked.filter_map(|id| self.entries.get(id)).find_map(|entry| {
            let certain = entry.seen.confirmed <= bound && entry.cancelling.is_none();
            let lesson = entry.seen.lesson;
            // Sorted; a slot overlaps the lesson if it starts less than its length before it and before its end.
            let from = offered.partition_point(|slot| slot.ends_at <= lesson.starts_at);
            let slot = offered.get(from).filter(|slot| certain && slot.starts_at < lesson.ends_at)?;
            Some((*slot, entry.seen.clone()))
        });
        if let Some((slot, seen)) = stale {
            let ago = (sent - seen.confirmed).as_secs_f64();
            let why = format!(
                "tutor {tutor} was offered at {}, although booking {} of {} was confirmed {ago:.1} s before",
                slot.starts_at, seen.booking, seen.lesson.starts_at
            );
            self.add(Anomaly::StaleRead, why, vec![seen.trace, trace]);
        }
    }

    /// Records a booking in a list that a request sent at `sent` read.
    pub(crate) fn listed(
        &mut self,
        booking: i64,
        is_cancelled: bool,
        sent: Duration,
        trace: Option<TraceId>,
    ) {
        let Some(entry) = self.entries.get_mut(&booking) else { return };
        entry.listed_as_cancelled = is_cancelled;
        if let Some((at, cancellation)) = entry.cancelled.filter(|(at, _)| !is_cancelled && *at <= sent) {
            let ago = (sent - at).as_secs_f64();
            let why = format!(
                "booking {booking} was listed as not cancelled {ago:.1} s after its cancellation was confirmed"
            );
            let traces = [Some(cancellation), trace].into_iter().flatten().collect();
            self.add(Anomaly::CameBack, why, traces);
        }
    }

    /// Records the replies to two requests with one key.
    pub(crate) fn repeated(&mut self, first: (&str, TraceId), second: (&str, TraceId)) {
        if first.0 != second.0 {
            let why = format!("the first reply to a key was {}, a later one {}", first.0, second.0);
            self.add(Anomaly::KeyReplies, why, vec![first.1, second.1]);
        }
    }

    /// Returns all confirmed bookings.
    pub(crate) fn bookings(&self) -> impl Iterator<Item = &SeenBooking> {
        self.entries.values().map(|entry| &entry.seen)
    }

    /// Compares all bookings with each other and returns the contradictions of each kind.
    pub(crate) fn contradictions(mut self) -> BTreeMap<Anomaly, Contradictions> {
        for (anomaly, why, traces) in overlaps::find(&self.entries) {
            self.add(anomaly, why, traces);
        }
        self.contradictions
    }

    fn add(&mut self, anomaly: Anomaly, why: String, traces: Vec<TraceId>) {
        let contradictions = self.contradictions.entry(anomaly).or_default();
        contradictions.count += 1;
        if contradictions.examples.len() < MAX_EXAMPLES {
            contradictions.examples.push(Contradiction { why, traces });
        }
    }
}
