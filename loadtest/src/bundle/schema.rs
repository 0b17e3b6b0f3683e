//! `run.json`: what a run found, stable and versioned.
//!
//! Members may be added under one schema number; renaming, removing or changing the meaning of one raises it.

use chrono::{DateTime, Utc};
pub(crate) use collector::blame::attribution::{Share, ShareKind};
use collector::latency::Summary;
use collector::ledger::Ledger;
use collector::trace::{Kind, TraceId};
use serde::{Deserialize, Serialize};

use crate::measure::validity::Validity;
use crate::plan::Profile;

#[cfg(test)]
mod sample;
#[cfg(test)]
pub(crate) use sample::sample;

/// The schema that this build writes.
pub(crate) const SCHEMA: u32 = 1;

/// Everything that a run found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Run {
    /// [`SCHEMA`] of the build that wrote it.
    pub(crate) schema: u32,
    /// Time zero of the schedule.
    pub(crate) started_at: DateTime<Utc>,
    /// From time zero to the last reply.
    pub(crate) duration_s: f64,
    /// The commit of the working copy the run was started in, `+` when it had changes; absent outside of one.
    pub(crate) git: Option<String>,
    /// Decides the schedule.
    pub(crate) seed: u64,
    /// How the rate moved.
    pub(crate) profile: Profile,
    /// Requests a second, as asked for.
    pub(crate) rate: f64,
    /// The balancer's URL.
    pub(crate) target: String,
    /// Where the generator ran.
    pub(crate) host: Host,
    /// Goose users.
    pub(crate) users: usize,
    /// Stopped before the schedule was done; the figures are those of the part that ran.
    pub(crate) interrupted: bool,
    /// Every SLO met, nothing wrong, nothing failed, no booking lost, not interrupted.
    pub(crate) passed: bool,
    /// One row for each request name of each phase.
    pub(crate) requests: Vec<Requests>,
    /// One row for each operation of each service, in the order of the request path; without the warm-up.
    pub(crate) hops: Vec<HopSummary>,
    /// Replies by the instance that served them, without the warm-up.
    pub(crate) distribution: Vec<InstanceReplies>,
    /// What the cache answered, without the warm-up.
    pub(crate) cache: Cache,
    /// What became of the bookings.
    pub(crate) bookings: Bookings,
    /// What became of the traces.
    pub(crate) ledger: RunLedger,
    /// Where the time of the requests went.
    pub(crate) blame: Vec<Blame>,
    /// Whether to trust all this.
    pub(crate) validity: Validity,
    /// The objectives and whether they were met.
    pub(crate) slo: Vec<Slo>,
    /// The first wrong and failed replies, with reasons.
    pub(crate) findings: Vec<Finding>,
    /// A request around the 99th percentile whose trace is in the bundle.
    pub(crate) slow_trace: Option<TraceId>,
}

/// The machine of the load generator.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Host {
    /// CPUs this process may use.
    pub(crate) cpus: usize,
    /// Bytes; absent where the system does not say.
    pub(crate) memory: Option<u64>,
    /// RequestKind and release.
    pub(crate) kernel: String,
}

/// The part of a run a request belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Phase {
    /// Log-ins before time zero.
    #[serde(rename = "warm-up")]
    WarmUp,
    /// The schedule.
    #[serde(rename = "schedule")]
    Schedule,
}

/// The requests of one name.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Requests {
    /// Method and route, after `refused` for those that must be.
    pub(crate) name: String,
    /// Which part of the run.
    pub(crate) phase: Phase,
    /// Planned.
    pub(crate) due: u64,
    /// Sent; fewer than due only when the run was interrupted.
    pub(crate) sent: u64,
    /// Answered exactly as expected.
    pub(crate) verified: u64,
    /// Answered, but not with the right answer.
    pub(crate) wrong: u64,
    /// Not answered, or with an unexpected status.
    pub(crate) failed: u64,
    /// Sent more than a millisecond after they were due.
    pub(crate) late: u64,
    /// From the due instant to the last byte of the reply.
    pub(crate) latency_us: Summary,
    /// From the send to the last byte of the reply.
    pub(crate) service_us: Summary,
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
    /// Spans.
    pub(crate) count: u64,
    /// Those that failed.
    pub(crate) errors: u64,
    /// Their durations, of all spans.
    pub(crate) latency_us: Summary,
    /// Their durations without the children waited for, of the spans of evenly chosen traces.
    pub(crate) self_us: Option<Summary>,
}

/// Replies of one instance.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct InstanceReplies {
    /// `service.name`.
    pub(crate) service: String,
    /// `service.instance.id`.
    pub(crate) instance: String,
    /// Replies.
    pub(crate) requests: u64,
}

/// What the search replies said of the cache.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Cache {
    /// Answered from the cache.
    pub(crate) hits: u64,
    /// Not.
    pub(crate) misses: u64,
    /// Hits among both; 0 without searches.
    pub(crate) ratio: f64,
}

/// What became of the bookings.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Bookings {
    /// Confirmed to a user.
    pub(crate) accepted: u64,
    /// Of these, seen with a notification.
    pub(crate) notified: u64,
    /// Notifications sent more than once.
    pub(crate) duplicate: u64,
    /// Accepted, but without a notification at the deadline.
    pub(crate) lost: u64,
    /// From the booking's commit to its notification.
    pub(crate) commit_to_notified_us: Summary,
}

/// Every trace that was expected, complete or lost in a named row: the rows add up to `expected`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct RunLedger {
    /// The collector's rows; `expected` counts the traces that were not sampled too.
    #[serde(flatten)]
    pub(crate) collected: Ledger,
    /// Traces that the sampler did not record.
    #[serde(default)]
    pub(crate) sampled_out: u64,
}

/// Where the latency of the requests around one percentile went.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Blame {
    /// A request name, or `all`.
    pub(crate) request: String,
    /// 50, 90, 99 or 99.9.
    pub(crate) percentile: f64,
    /// The percentile's value, from the due instant.
    pub(crate) latency_us: f64,
    /// Traces averaged over.
    pub(crate) traces: usize,
    /// Shares of hops, of `generator` for the time before the request was sent, and of `unattributed`; largest first, sum 1.
    pub(crate) shares: Vec<Share>,
}

/// One objective.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Slo {
    /// As it was given.
    pub(crate) expression: String,
    /// What was found, in the unit of the expression; absent if nothing was measured.
    pub(crate) value: Option<f64>,
    /// Whether it was met; never without a value.
    pub(crate) met: bool,
}

/// A reply that was not right.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Finding {
    /// Which request.
    pub(crate) request: String,
    /// `wrong` or `failed`.
    pub(crate) verdict: String,
    /// What was expected, and what came.
    pub(crate) why: String,
    /// Its trace.
    pub(crate) trace_id: TraceId,
}

impl Run {
    /// The sum of one count over the requests of both phases.
    pub(crate) fn total(&self, count: impl Fn(&Requests) -> u64) -> u64 {
        self.requests.iter().map(count).sum()
    }
}
