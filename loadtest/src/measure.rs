//! Measurements: one [`Sample`] for each request, and histograms of them.
//!
//! Each goose user writes to its own [`Recorder`], so users share nothing while requests are timed. The recorders are
//! merged after the run. Latencies in memory are nanoseconds.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use collector::latency::Summary;
use collector::trace::TraceId;
use hdrhistogram::Histogram;

use crate::plan::{Action, Intrusion};

#[cfg(test)]
mod sample;
#[cfg(test)]
mod tests;
pub(crate) mod descriptors;
pub(crate) mod history;
pub(crate) mod validity;

#[cfg(test)]
pub(crate) use sample::sample;

/// A request sent later than this after its due instant counts as late. Waking a task takes about 100 µs; one
/// millisecond is the resolution of the reported figures.
pub(crate) const LATE_AFTER: Duration = Duration::from_millis(1);
/// Maximum number of wrong or failed replies kept with their reasons.
const MAX_FINDINGS: usize = 20;

/// The kinds of requests that are counted separately. Requests that must be refused have kinds of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum RequestKind {
    /// Logging in.
    LogIn,
    /// Searching for tutors.
    Search,
    /// Looking at the free slots of a tutor.
    Slots,
    /// Booking a tutor.
    Book,
    /// Booking again with the key of an earlier request.
    RepeatedBook,
    /// Listing the user's bookings.
    Bookings,
    /// Cancelling a booking.
    Cancel,
    /// Logging in with wrong credentials.
    RefusedLogIn,
    /// Searching without valid credentials.
    RefusedSearch,
    /// Booking for another student.
    RefusedBook,
}

impl RequestKind {
    /// Every kind, in the order of the report.
    pub(crate) const ALL: [RequestKind; 10] = [
        RequestKind::LogIn,
        RequestKind::Search,
        RequestKind::Slots,
        RequestKind::Book,
        RequestKind::RepeatedBook,
        RequestKind::Bookings,
        RequestKind::Cancel,
        RequestKind::RefusedLogIn,
        RequestKind::RefusedSearch,
        RequestKind::RefusedBook,
    ];

    /// Returns the kind under which an action is counted.
    pub(crate) fn of(action: &Action) -> Self {
        match action {
            Action::Search { .. } | Action::Intrude(Intrusion::SqlInSubject) => RequestKind::Search,
            Action::Slots { .. } => RequestKind::Slots,
            Action::Book { .. } | Action::BookSlot { .. } => RequestKind::Book,
            Action::Repeat { .. } => RequestKind::RepeatedBook,
            Action::Cancel => RequestKind::Cancel,
            Action::Bookings => RequestKind::Bookings,
            Action::Intrude(Intrusion::WrongPassword | Intrusion::UnknownUser) => RequestKind::RefusedLogIn,
            Action::Intrude(Intrusion::OtherStudent { .. }) => RequestKind::RefusedBook,
            Action::Intrude(_) => RequestKind::RefusedSearch,
        }
    }

    /// Returns the name used in the report and in SLOs.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            RequestKind::LogIn => "POST /token",
            RequestKind::Search => "GET /search",
            RequestKind::Slots => "GET /tutors/{id}/slots",
            RequestKind::Book => "POST /book",
            RequestKind::RepeatedBook => "repeated POST /book",
            RequestKind::Bookings => "GET /bookings",
            RequestKind::Cancel => "DELETE /bookings/{id}",
            RequestKind::RefusedLogIn => "refused POST /token",
            RequestKind::RefusedSearch => "refused GET /search",
            RequestKind::RefusedBook => "refused POST /book",
        }
    }

    /// Returns method and route, which name the client span.
    pub(crate) fn route(self) -> &'static str {
        match self {
            RequestKind::LogIn | RequestKind::RefusedLogIn => "POST /token",
            RequestKind::Search | RequestKind::RefusedSearch => "GET /search",
            RequestKind::Slots => "GET /tutors/{id}/slots",
            RequestKind::Book | RequestKind::RepeatedBook | RequestKind::RefusedBook => "POST /book",
            RequestKind::Cancel => "DELETE /bookings/{id}",
            RequestKind::Bookings => "GET /bookings",
        }
    }
}

/// The oracle's verdict on a reply, without the reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The reply matches the expectation.
    Verified,
    /// A refusal that can be right, because the system may have no slot left: 409 `slot_taken` or `no_free_slot`.
    Conflict,
    /// The reply has the expected status but the wrong content.
    Wrong,
    /// No reply, or an unexpected status.
    Failed,
}

/// What delayed a request that was sent late.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DelayCause {
    /// The generator itself: a user was free and the previous reply had arrived.
    Generator,
    /// The previous reply of the journey arrived after this request was due.
    PreviousReply,
    /// No user was free when the journey was due to start, although replies came in time: there are too few users.
    NoFreeUser,
    /// No user was free when the journey was due to start, because replies to earlier requests were slow.
    BusyUsers,
}

/// The measurement of one request.
#[derive(Clone, Debug)]
pub(crate) struct Sample {
    /// Kind of the request.
    pub(crate) kind: RequestKind,
    /// Whether it was sent before time zero.
    pub(crate) warm_up: bool,
    /// Whether an intruder sent it, not a user.
    pub(crate) by_intruder: bool,
    /// The oracle's verdict.
    pub(crate) outcome: Outcome,
    /// What delayed it, if it was late.
    pub(crate) delay_cause: DelayCause,
    /// Due instant since time zero; in the warm-up, since the first log-in was due.
    pub(crate) due: Duration,
    /// From the due instant to the send.
    pub(crate) late_ns: u64,
    /// Part of `late_ns` in which the request could not be sent, for the reason in `delay_cause`. The rest is the generator's.
    pub(crate) blocked_ns: u64,
    /// From the due instant to the last byte of the reply.
    pub(crate) latency_ns: u64,
    /// From the send to the last byte of the reply.
    pub(crate) service_ns: u64,
    /// Id of the request's trace.
    pub(crate) trace: TraceId,
    /// Whether the trace is recorded.
    pub(crate) sampled: bool,
}

impl Sample {
    /// Returns whether it was sent more than [`LATE_AFTER`] after it was due.
    pub(crate) fn late(&self) -> bool {
        u128::from(self.late_ns) > LATE_AFTER.as_nanos()
    }

    /// Returns whether the reply matched the expectation.
    pub(crate) fn verified(&self) -> bool {
        self.outcome == Outcome::Verified
    }

    /// Returns whether the reply was wrong or the request failed.
    pub(crate) fn unverified(&self) -> bool {
        matches!(self.outcome, Outcome::Wrong | Outcome::Failed)
    }
}

/// Requests that failed because the generator's own process reached a limit of the operating system, and those that were not
/// sent because the log-in of their user had failed so.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct LimitFailures {
    /// Without a free file descriptor.
    pub(crate) descriptors: u64,
    /// Without a free local port.
    pub(crate) ports: u64,
}

/// A limit of the operating system on the generator's own process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Limit {
    /// No free file descriptor.
    Descriptors,
    /// No free local port.
    Ports,
}

impl LimitFailures {
    /// Counts a request that failed at `limit`, or was not sent because an earlier one failed there.
    pub(crate) fn count(&mut self, limit: Limit) {
        match limit {
            Limit::Descriptors => self.descriptors += 1,
            Limit::Ports => self.ports += 1,
        }
    }
}

/// A wrong or failed reply.
#[derive(Clone, Debug)]
pub(crate) struct Finding {
    /// Kind of the request.
    pub(crate) kind: RequestKind,
    /// Wrong or failed.
    pub(crate) outcome: Outcome,
    /// The expectation and the reply.
    pub(crate) why: String,
    /// Id of its trace.
    pub(crate) trace: TraceId,
}

/// A request to book whose outcome is unknown: no reply, or none that says whether the booking was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct OpenBooking {
    /// Id of the student.
    pub(crate) student: i64,
    /// Trace of the request, which the system stores with the booking.
    pub(crate) trace: TraceId,
    /// When the last attempt ended.
    pub(crate) ended: Instant,
}

/// The measurements of one user or of a whole run.
#[derive(Clone, Debug, Default)]
pub(crate) struct Measured {
    /// Every request that was sent.
    pub(crate) samples: Vec<Sample>,
    /// The first wrong and failed replies.
    pub(crate) findings: Vec<Finding>,
    /// Requests to book whose outcome is unknown.
    pub(crate) open: Vec<OpenBooking>,
    /// Number of times that requests of a kind were sent again, because their outcome was unknown.
    pub(crate) retries: BTreeMap<RequestKind, u64>,
    /// Replies after time zero by gateway instance.
    pub(crate) gateways: BTreeMap<String, u64>,
    /// Searches after time zero that were answered from the cache.
    pub(crate) hits: u64,
    /// Searches after time zero that were answered by the search service.
    pub(crate) misses: u64,
    /// Requests that could not be sent for lack of descriptors or ports.
    pub(crate) limits: LimitFailures,
    /// Requests due after time zero that were never sent, because the run was interrupted.
    pub(crate) overdue: BTreeMap<RequestKind, u64>,
}

impl Measured {
    /// Adds a finding unless the maximum number is kept already.
    pub(crate) fn add_finding(&mut self, finding: Finding) {
        if self.findings.len() < MAX_FINDINGS {
            self.findings.push(finding);
        }
    }

    /// Adds the measurements of another user.
    pub(crate) fn merge(&mut self, other: Measured) {
        self.samples.extend(other.samples);
        for finding in other.findings {
            self.add_finding(finding);
        }
        self.open.extend(other.open);
        for (kind, count) in other.retries {
            *self.retries.entry(kind).or_default() += count;
        }
        for (gateway, count) in other.gateways {
            *self.gateways.entry(gateway).or_default() += count;
        }
        self.hits += other.hits;
        self.misses += other.misses;
        self.limits.descriptors += other.limits.descriptors;
        self.limits.ports += other.limits.ports;
        for (kind, count) in other.overdue {
            *self.overdue.entry(kind).or_default() += count;
        }
    }

    /// Returns the requests of the warm-up or those of the schedule.
    pub(crate) fn phase(&self, warm_up: bool) -> impl Iterator<Item = &Sample> {
        self.samples.iter().filter(move |sample| sample.warm_up == warm_up)
    }

    /// Returns the scheduled requests whose replies were verified. Latencies leave out all others: a
    /// refusal can be faster than any verified reply.
    pub(crate) fn verified(&self) -> impl Iterator<Item = &Sample> {
        self.phase(false).filter(|sample| sample.verified())
    }

    /// Returns the latencies of the verified replies to scheduled requests of one kind, or of all, from their due instants.
    pub(crate) fn latency(&self, kind: Option<RequestKind>) -> Histogram<u64> {
        let samples = self.verified().filter(|sample| kind.is_none_or(|kind| sample.kind == kind));
        histogram(samples.map(|sample| sample.latency_ns))
    }

    /// Returns the number of scheduled requests of one kind, or of all, without a verified reply: wrong, failed and overdue.
    pub(crate) fn unverified(&self, kind: Option<RequestKind>) -> u64 {
        let wanted = |of: RequestKind| kind.is_none_or(|kind| of == kind);
        let sent = self.phase(false).filter(|sample| sample.unverified() && wanted(sample.kind)).count();
        let overdue = self.overdue.iter().filter(|(kind, _)| wanted(**kind)).map(|(_, count)| count);
        sent as u64 + overdue.sum::<u64>()
    }
}

/// Summarizes values in nanoseconds as microseconds; `None` without values, because 0 would read as a measurement.
pub(crate) fn summary(values: impl Iterator<Item = u64>) -> Option<Summary> {
    let histogram = histogram(values);
    (!histogram.is_empty()).then(|| Summary::of(&histogram))
}

/// Returns a histogram with three significant digits. The lowest value is one nanosecond.
#[expect(clippy::expect_used, reason = "three digits are within HdrHistogram's limits")]
pub(crate) fn histogram(values: impl Iterator<Item = u64>) -> Histogram<u64> {
    let mut histogram = Histogram::new(3).expect("three digits");
    for value in values {
        // Auto-resizing histograms take every value.
        let _ = histogram.record(value);
    }
    histogram
}

/// The measurements of one running user. Clones share them.
#[derive(Clone, Default)]
pub(crate) struct Recorder(Arc<Mutex<Measured>>);

impl Recorder {
    /// Locks the measurements recorded so far.
    pub(crate) fn lock(&self) -> MutexGuard<'_, Measured> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the measurements out of the recorder.
    pub(crate) fn take(&self) -> Measured {
        std::mem::take(&mut *self.lock())
    }
}
