//! What was measured: one [`Sample`] for each request, histograms made from them, and their files.
//!
//! Each goose user writes into a [`Recorder`] of its own, so nothing is shared while requests are timed; the
//! recorders are merged when the run is over. Latencies are nanoseconds in memory.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use collector::trace::TraceId;
use hdrhistogram::Histogram;

#[cfg(test)]
mod tests;
pub(crate) mod validity;

/// A request sent later than this after its due instant counts as late. Waking a task takes the machine some
/// hundred microseconds; a millisecond is the resolution of the figures that people compare.
pub(crate) const LATE_AFTER: Duration = Duration::from_millis(1);
/// How many wrong or failed replies are kept with their reasons.
const FINDINGS: usize = 20;

/// The names under which requests are counted: the journeys' own, and those that had to be refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Name {
    /// Logging in.
    LogIn,
    /// Searching for tutors.
    Search,
    /// Booking a tutor.
    Book,
    /// Reading one's bookings.
    Bookings,
    /// Logging in with wrong credentials.
    RefusedLogIn,
    /// Searching without valid credentials.
    RefusedSearch,
    /// Booking for somebody else.
    RefusedBook,
}

impl Name {
    /// In the order of the report.
    pub(crate) const ALL: [Name; 7] = [
        Name::LogIn,
        Name::Search,
        Name::Book,
        Name::Bookings,
        Name::RefusedLogIn,
        Name::RefusedSearch,
        Name::RefusedBook,
    ];

    /// As it stands in the report and in an SLO.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Name::LogIn => "POST /token",
            Name::Search => "GET /search",
            Name::Book => "POST /book",
            Name::Bookings => "GET /bookings",
            Name::RefusedLogIn => "refused POST /token",
            Name::RefusedSearch => "refused GET /search",
            Name::RefusedBook => "refused POST /book",
        }
    }

    /// Method and route: the name of the client span.
    pub(crate) fn route(self) -> &'static str {
        match self {
            Name::LogIn | Name::RefusedLogIn => "POST /token",
            Name::Search | Name::RefusedSearch => "GET /search",
            Name::Book | Name::RefusedBook => "POST /book",
            Name::Bookings => "GET /bookings",
        }
    }
}

/// What the oracle said of a reply, without its reasons.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Exactly what was expected.
    Verified,
    /// An answer, but not the right one.
    Wrong,
    /// No answer, or an unexpected status.
    Failed,
}

/// Why a request was sent when it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Held {
    /// Nothing but the generator itself stood between the due instant and the send.
    Free,
    /// The previous reply of the journey came after this request was due.
    Predecessor,
    /// Every user of the journey was busy when it was due to start.
    NoUser,
}

/// One request that was sent.
#[derive(Clone, Debug)]
pub(crate) struct Sample {
    /// Which request.
    pub(crate) name: Name,
    /// Sent before the schedule's time zero.
    pub(crate) warm_up: bool,
    /// What the oracle said.
    pub(crate) outcome: Outcome,
    /// What held it back, if it was late.
    pub(crate) held: Held,
    /// Due instant: since time zero, or since the first log-in was due for the warm-up.
    pub(crate) due: Duration,
    /// From due to send.
    pub(crate) late_ns: u64,
    /// From due to the last byte of the reply.
    pub(crate) latency_ns: u64,
    /// From send to the last byte of the reply.
    pub(crate) service_ns: u64,
    /// The trace that the request opened.
    pub(crate) trace: TraceId,
    /// Whether that trace is recorded.
    pub(crate) sampled: bool,
}

impl Sample {
    /// Sent more than [`LATE_AFTER`] after it was due.
    pub(crate) fn late(&self) -> bool {
        u128::from(self.late_ns) > LATE_AFTER.as_nanos()
    }
}

/// A reply that was not right.
#[derive(Clone, Debug)]
pub(crate) struct Finding {
    /// Which request.
    pub(crate) name: Name,
    /// Wrong or failed.
    pub(crate) outcome: Outcome,
    /// What was expected, and what came.
    pub(crate) why: String,
    /// Its trace.
    pub(crate) trace: TraceId,
}

/// A booking that the system confirmed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Accepted {
    /// Its id.
    pub(crate) booking: i64,
    /// Whose it is.
    pub(crate) student: i64,
}

/// Everything one user, or a whole run, has measured.
#[derive(Clone, Debug, Default)]
pub(crate) struct Measured {
    /// Every request sent.
    pub(crate) samples: Vec<Sample>,
    /// The first wrong and failed replies.
    pub(crate) findings: Vec<Finding>,
    /// Confirmed bookings.
    pub(crate) accepted: Vec<Accepted>,
    /// Replies after time zero by the instance that served them.
    pub(crate) gateways: BTreeMap<String, u64>,
    /// Searches answered from the cache, after time zero.
    pub(crate) hits: u64,
    /// Searches answered by the search service, after time zero.
    pub(crate) misses: u64,
}

impl Measured {
    /// Keeps a finding while there is room.
    pub(crate) fn find(&mut self, finding: Finding) {
        if self.findings.len() < FINDINGS {
            self.findings.push(finding);
        }
    }

    /// Takes over what another user measured.
    pub(crate) fn merge(&mut self, other: Measured) {
        self.samples.extend(other.samples);
        for finding in other.findings {
            self.find(finding);
        }
        self.accepted.extend(other.accepted);
        for (gateway, count) in other.gateways {
            *self.gateways.entry(gateway).or_default() += count;
        }
        self.hits += other.hits;
        self.misses += other.misses;
    }

    /// The requests of the schedule proper, or those of the warm-up.
    pub(crate) fn phase(&self, warm_up: bool) -> impl Iterator<Item = &Sample> {
        self.samples.iter().filter(move |sample| sample.warm_up == warm_up)
    }

    /// Latency from the due instant of the schedule's requests: of one name, or of all.
    pub(crate) fn latency(&self, name: Option<Name>) -> Histogram<u64> {
        let of_name = self.phase(false).filter(|sample| name.is_none_or(|name| sample.name == name));
        histogram(of_name.map(|sample| sample.latency_ns))
    }
}

/// Three significant digits, from a nanosecond up.
#[expect(clippy::expect_used, reason = "three digits are within HdrHistogram's limits")]
pub(crate) fn histogram(values: impl Iterator<Item = u64>) -> Histogram<u64> {
    let mut histogram = Histogram::new(3).expect("three digits");
    for value in values {
        // Auto-resizing histograms take every value.
        let _ = histogram.record(value);
    }
    histogram
}

/// One user's measurements while it runs. Clones share them.
#[derive(Clone, Default)]
pub(crate) struct Recorder(Arc<Mutex<Measured>>);

impl Recorder {
    /// What was measured so far.
    pub(crate) fn lock(&self) -> MutexGuard<'_, Measured> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Empties the recorder.
    pub(crate) fn take(&self) -> Measured {
        std::mem::take(&mut *self.lock())
    }
}
