//! `run.json`: the results of a run, with a versioned schema.
//!
//! Adding a member keeps the schema number; renaming, removing or redefining one increases it.

use chrono::{DateTime, Utc};
pub(crate) use collector::blame::attribution::{Share, ShareKind};
use collector::latency::Summary;
use collector::ledger::Ledger;
use collector::trace::{Kind, TraceId};
use serde::{Deserialize, Serialize};

use crate::measure::validity::Validity;
use crate::plan::Profile;

mod history;
#[cfg(test)]
mod sample;
#[cfg(test)]
pub(crate) use history::HistoryExample;
pub(crate) use history::HistoryRow;
#[cfg(test)]
pub(crate) use sample::sample;

/// The schema that this build writes. Schema 1 has the latencies of all replies, and 0 without a
/// measurement. Before schema 3, `accepted` has no bookings of requests without a reply, and `lost` has the parked ones.
pub(crate) const SCHEMA: u32 = 3;
/// The schemas that this build reads.
pub(crate) const READABLE: std::ops::RangeInclusive<u32> = 1..=SCHEMA;

/// The results of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Run {
    /// [`SCHEMA`] of the build that wrote it.
    pub(crate) schema: u32,
    /// Time zero of the plan.
    pub(crate) started_at: DateTime<Utc>,
    /// Seconds from time zero to the last reply.
    pub(crate) duration_s: f64,
    /// Commit of the working copy in which the run started, with `+` if it had changes; absent outside a working copy.
    pub(crate) git: Option<String>,
    /// Seed of the plan.
    pub(crate) seed: u64,
    /// Course of the rate.
    pub(crate) profile: Profile,
    /// Requested rate in requests per second.
    pub(crate) rate: f64,
    /// URL of the balancer.
    pub(crate) target: String,
    /// Machine of the load generator.
    pub(crate) host: Host,
    /// Number of goose users.
    pub(crate) users: usize,
    /// Whether the run was stopped before the end of the plan; the figures cover the part that ran.
    pub(crate) interrupted: bool,
    /// Whether every SLO was met, no reply wrong or failed, no booking lost, duplicate, double-booked or unknown, `history`
    /// without contradictions, and the run not interrupted.
    pub(crate) passed: bool,
    /// One row for each request kind of each phase.
    pub(crate) requests: Vec<Requests>,
    /// One row for each operation of each service in the order of the request path, without the warm-up.
    pub(crate) hops: Vec<HopSummary>,
    /// Replies by gateway instance, without the warm-up.
    pub(crate) distribution: Vec<InstanceReplies>,
    /// Cache hits and misses, without the warm-up.
    pub(crate) cache: Cache,
    /// Notifications of the bookings.
    pub(crate) bookings: BookingCounts,
    /// Contradictions between what the users saw, one row for each kind.
    #[serde(default)]
    pub(crate) history: Vec<HistoryRow>,
    /// Completeness of the traces.
    pub(crate) ledger: RunLedger,
    /// Where the time of the requests went, by percentile.
    pub(crate) blame: Vec<Blame>,
    /// Whether the figures are valid.
    pub(crate) validity: Validity,
    /// The objectives and their results.
    pub(crate) slo: Vec<SloResult>,
    /// The first wrong and failed replies, with reasons.
    pub(crate) findings: Vec<Finding>,
    /// A user's request around the 99th percentile whose trace is in the bundle.
    pub(crate) slow_trace: Option<TraceId>,
}

/// The machine of the load generator.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Host {
    /// CPUs this process may use.
    pub(crate) cpus: usize,
    /// Memory in bytes; absent if the system does not report it.
    pub(crate) memory: Option<u64>,
    /// Name and release of the kernel.
    pub(crate) kernel: String,
}

/// A phase of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Phase {
    /// Log-ins before time zero.
    #[serde(rename = "warm-up")]
    WarmUp,
    /// Planned requests after time zero.
    #[serde(rename = "schedule")]
    Schedule,
}

/// Figures of one request kind.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Requests {
    /// Method and route, prefixed with `refused` for requests that must be refused.
    pub(crate) name: String,
    /// Phase of the run.
    pub(crate) phase: Phase,
    /// Requests due.
    pub(crate) due: u64,
    /// Requests sent; fewer than due only if the run was interrupted.
    pub(crate) sent: u64,
    /// Replies that match the expectation.
    pub(crate) verified: u64,
    /// Requests to book that were refused rightly, because the slot was taken or no slot was free.
    #[serde(default)]
    pub(crate) conflicts: u64,
    /// Replies with the expected status but wrong content.
    pub(crate) wrong: u64,
    /// Requests without a reply or with an unexpected status.
    pub(crate) failed: u64,
    /// Requests sent more than one millisecond after they were due.
    pub(crate) late: u64,
    /// Requests due before the run was interrupted, but never sent.
    #[serde(default)]
    pub(crate) overdue: u64,
    /// Number of times that requests were sent again, because their outcome was unknown. Not counted in `sent`.
    #[serde(default)]
    pub(crate) retries: u64,
    /// Latency of verified replies, from the due instant to the last byte; absent without one.
    pub(crate) latency_us: Option<Summary>,
    /// Latency of verified replies, from the send to the last byte; absent without one.
    pub(crate) service_us: Option<Summary>,
    /// Time from the due instant to the wrong reply or the failure; absent without one.
    #[serde(default)]
    pub(crate) unverified_us: Option<Summary>,
}

/// One operation of one service.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct HopSummary {
    /// `service.name`.
    pub(crate) service: String,
    /// Span name.
    pub(crate) operation: String,
    /// Span kind.
    pub(crate) kind: Kind,
    /// Number of spans.
    pub(crate) count: u64,
    /// Number of failed spans, without those in `refused`.
    pub(crate) errors: u64,
    /// Number of calls that were refused as intended, because an intruder made them.
    #[serde(default)]
    pub(crate) refused: u64,
    /// Durations of all spans.
    pub(crate) latency_us: Summary,
    /// Durations minus awaited calls, from an even sample of traces.
    pub(crate) self_us: Option<Summary>,
}

/// Replies of one instance.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct InstanceReplies {
    /// `service.name`.
    pub(crate) service: String,
    /// `service.instance.id`.
    pub(crate) instance: String,
    /// Number of replies.
    pub(crate) requests: u64,
}

/// Cache use as reported by the search replies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Cache {
    /// Searches answered from the cache.
    pub(crate) hits: u64,
    /// Searches answered by the search service.
    pub(crate) misses: u64,
    /// Share of hits; 0 without searches.
    pub(crate) ratio: f64,
}

/// Counts of bookings and their notifications.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct BookingCounts {
    /// Bookings confirmed to a user, or found in the user's list after a request whose outcome was unknown.
    pub(crate) accepted: u64,
    /// Accepted bookings that were cancelled since. They are notified as well.
    #[serde(default)]
    pub(crate) cancelled: u64,
    /// Accepted bookings with a notification, each counted once.
    pub(crate) notified: u64,
    /// Repeated notifications: effects beyond the first one of each booking.
    pub(crate) duplicate: u64,
    /// Accepted bookings without a notification whose event is parked: its task is in the dead letters.
    #[serde(default)]
    pub(crate) parked: u64,
    /// Accepted bookings that are neither notified nor parked according to the system's last reply.
    pub(crate) lost: u64,
    /// Accepted bookings whose notification could not be observed, and requests to book whose outcome could not, because the
    /// system did not answer or the wait was ended.
    #[serde(default)]
    pub(crate) unknown: u64,
    /// Pairs of accepted bookings that give one tutor or one student two lessons at one time.
    #[serde(default)]
    pub(crate) double_booked: u64,
    /// Time from the booking's commit to its notification; absent without a notification.
    pub(crate) commit_to_notified_us: Option<Summary>,
}

/// Every trace that was expected, complete or lost in a named row: the rows add up to `expected`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct RunLedger {
    /// The collector's rows. `expected` includes the traces that were not sampled.
    #[serde(flatten)]
    pub(crate) collected: Ledger,
    /// Traces that the sampler did not record.
    #[serde(default)]
    pub(crate) sampled_out: u64,
    /// Traces whose state could not be observed, because the collector did not answer or the wait was ended.
    #[serde(default)]
    pub(crate) unknown: u64,
}

/// Where the latency of the requests around one percentile went.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Blame {
    /// A request kind, or `all`.
    pub(crate) request: String,
    /// 50, 90, 99 or 99.9.
    pub(crate) percentile: f64,
    /// Value of the percentile, from the due instant.
    pub(crate) latency_us: f64,
    /// Number of traces averaged.
    pub(crate) traces: usize,
    /// Shares of hops, of `generator` and earlier replies for the time before the request was sent, and of `unattributed`;
    /// largest first, sum 1.
    pub(crate) shares: Vec<Share>,
}

/// One objective.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct SloResult {
    /// The expression as given.
    pub(crate) expression: String,
    /// Measured value in the unit of the expression; absent if nothing was measured, or if requests without a verified reply,
    /// which count as infinitely slow, decide it.
    pub(crate) value: Option<f64>,
    /// Unit of the values; empty for counts.
    #[serde(default)]
    pub(crate) unit: String,
    /// Latency of the verified replies alone; absent for other metrics.
    #[serde(default)]
    pub(crate) verified_value: Option<f64>,
    /// Number of requests that a latency covers; 0 for other metrics.
    #[serde(default)]
    pub(crate) requests: u64,
    /// Number of these requests without a verified reply.
    #[serde(default)]
    pub(crate) unverified: u64,
    /// Whether the objective was met; false without a value.
    pub(crate) met: bool,
}

/// A wrong or failed reply.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Finding {
    /// Kind of the request.
    pub(crate) request: String,
    /// `wrong` or `failed`.
    pub(crate) verdict: String,
    /// The expectation and the reply.
    pub(crate) why: String,
    /// Id of its trace.
    pub(crate) trace_id: TraceId,
}

impl Run {
    /// Returns the sum of one count over both phases.
    pub(crate) fn total(&self, count: impl Fn(&Requests) -> u64) -> u64 {
        self.requests.iter().map(count).sum()
    }
}
