//! Jaeger's sanitizers and query adjusters, in Jaeger's order. Every API of Jaeger answers with traces from here.
//!
//! Jaeger applies the sanitizers before it stores a span. Here the store keeps spans as they were sent, so the sanitizers
//! are applied to each answer, raw ones included:
//!
//! | step | raw | effect |
//! |---|---|---|
//! | `names` | yes | placeholders for missing names of services and operations |
//! | `durations` | yes | a span that ends no later than it starts ends 1 ns after its start |
//! | [`Trace::split_shared_ids`] | no | a server span with the id of its client span gets an id of its own |
//! | `order` | no | attributes sorted by key, events by time; numeric IPv4 addresses as text |
//! | `duplicates` | no | identical spans removed |
//! | `clock_skew` | no | warnings about missing parents and skewed clocks; corrects the clocks up to a limit |
//! | `library` | no | attributes of the OpenTelemetry SDK moved from spans to their resource |
//! | `links` | no | links without a trace id removed |
//!
//! Jaeger's limit on the size of a trace is left out, because the store has a limit of its own.

mod changed_copies;
mod warnings;
mod names;
mod durations;
mod order;
mod duplicates;
mod clock_skew;
mod library;
mod links;

use std::time::Duration;

use crate::trace::Trace;

pub(super) use warnings::WARNINGS;

/// The adjusters with their setting.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Adjuster {
    /// Maximum correction of a clock in nanoseconds; 0 for none.
    max_clock_skew_ns: u64,
}

impl Adjuster {
    /// Returns adjusters that correct clocks by at most `max_clock_skew`.
    pub(crate) fn new(max_clock_skew: Duration) -> Self {
        Self { max_clock_skew_ns: u64::try_from(max_clock_skew.as_nanos()).unwrap_or(u64::MAX) }
    }

    /// Returns the trace as Jaeger answers it: sanitized, and adjusted unless the request asks for raw traces.
    pub(crate) fn answer(self, mut trace: Trace, raw: bool) -> Trace {
        names::sanitize(&mut trace);
        durations::sanitize(&mut trace);
        if !raw {
            trace.split_shared_ids();
            order::adjust(&mut trace);
            duplicates::remove(&mut trace);
            clock_skew::adjust(&mut trace, self.max_clock_skew_ns);
            library::adjust(&mut trace);
            links::adjust(&mut trace);
        }
        trace
    }

    /// Returns the trace with the adjustments that change its number of spans or their times, for a summary of it.
    pub(crate) fn summarized(self, mut trace: Trace, raw: bool) -> Trace {
        durations::sanitize(&mut trace);
        if !raw {
            trace.split_shared_ids();
            duplicates::remove(&mut trace);
            if self.max_clock_skew_ns > 0 {
                clock_skew::adjust(&mut trace, self.max_clock_skew_ns);
            }
        }
        trace
    }
}

#[cfg(test)]
mod tests;
