//! Where the latency of the requests around a percentile went.
//!
//! The requests are those with a verified reply. The latency counts from the due instant and has three parts: the time before
//! the send, which belongs to earlier replies or to the generator; the critical path of the trace, whose segments belong to
//! hops; and the rest, which no span covers. A share is a sum of nanoseconds over the selected requests divided by the sum of
//! their latencies, so the shares sum to one.

use std::collections::HashMap;

use collector::blame::attribution::{self, Part, ShareKind};
use collector::trace::{Trace, TraceId};

use crate::bundle::schema::Blame;
use crate::measure::{DelayCause, Measured, RequestKind, Sample};

#[cfg(test)]
mod tests;

/// Percentiles at which the report shows where the time went.
pub(crate) const PERCENTILES: [f64; 4] = [50.0, 90.0, 99.0, 99.9];
/// Maximum number of requests on each side of a percentile.
const REACH: usize = 25;
/// The name of the generator's own service.
const GENERATOR: &str = "loadtest";
/// The hop of a request that was due before the previous reply of its journey arrived. A user sends one request at a time.
const PREVIOUS_REPLY: &str = "previous reply of the journey";
/// The hop of a journey that was due while every user still waited for replies to earlier journeys.
const BUSY_USERS: &str = "replies to earlier journeys";

/// The requests of one kind around one percentile.
pub(crate) struct Band<'a> {
    request: &'static str,
    percentile: f64,
    latency_ns: u64,
    samples: Vec<&'a Sample>,
}

impl<'a> Band<'a> {
    /// Returns the trace ids of the requests.
    pub(crate) fn traces(&self) -> impl Iterator<Item = TraceId> + use<'_, 'a> {
        self.samples.iter().map(|sample| sample.trace)
    }

    /// Returns the request in the middle: the percentile itself.
    pub(crate) fn middle(&self) -> Option<&'a Sample> {
        self.samples.get(self.samples.len() / 2).copied()
    }
}

/// Returns one band for each percentile, for all requests and for each kind.
pub(crate) fn bands(measured: &Measured) -> Vec<Band<'_>> {
    let names = std::iter::once(None).chain(RequestKind::ALL.map(Some));
    names
        .flat_map(|name| {
            let wanted = |sample: &&Sample| name.is_none_or(|name| sample.kind == name);
            let sorted = by_latency(measured.verified().filter(wanted));
            let request = name.map_or("all", RequestKind::as_str);
            PERCENTILES.map(|percentile| band(request, percentile, &sorted)).into_iter().flatten()
        })
        .collect()
}

/// Returns the band of the slow requests of users. An intruder's refusal is no example of a slow request.
pub(crate) fn slow_users(measured: &Measured) -> Option<Band<'_>> {
    let of_users = by_latency(measured.verified().filter(|sample| !sample.by_intruder));
    band("users", 99.0, &of_users)
}

fn by_latency<'a>(samples: impl Iterator<Item = &'a Sample>) -> Vec<&'a Sample> {
    let mut samples: Vec<&Sample> = samples.filter(|sample| sample.sampled).collect();
    samples.sort_by_key(|sample| sample.latency_ns);
    samples
}

/// Returns the band around a percentile of samples ordered by latency; `None` without samples.
fn band<'a>(request: &'static str, percentile: f64, sorted: &[&'a Sample]) -> Option<Band<'a>> {
    let count = sorted.len();
    let beyond = count as f64 * (1.0 - percentile / 100.0);
    let rank = (count as f64 * percentile / 100.0).ceil().max(1.0) as usize - 1;
    // A quarter of the requests beyond the percentile, so that the band does not reach the next percentile.
    let reach = ((beyond / 4.0) as usize).min(REACH);
    let latency_ns = sorted.get(rank)?.latency_ns;
    let samples = sorted[rank.saturating_sub(reach)..(rank + reach + 1).min(count)].to_vec();
    Some(Band { request, percentile, latency_ns, samples })
}

/// Attributes the latency of a band's requests by those of their traces that were kept.
pub(crate) fn blame(band: &Band<'_>, traces: &HashMap<TraceId, Trace>) -> Blame {
    let mut parts = Vec::new();
    let mut with_trace = 0;
    for sample in &band.samples {
        let trace = traces.get(&sample.trace);
        with_trace += usize::from(trace.is_some());
        parts.extend(attribute(sample, trace));
    }
    Blame {
        request: band.request.to_owned(),
        percentile: band.percentile,
        latency_us: band.latency_ns as f64 / 1e3,
        traces: with_trace,
        shares: attribution::shares(parts),
    }
}

/// Splits the latency of one request. The parts sum to its latency, or to its trace if the clocks report a longer one.
fn attribute(sample: &Sample, trace: Option<&Trace>) -> Vec<Part> {
    let part = |hop: &str, kind, duration_ns| Part { hop: hop.to_owned(), kind, duration_ns };
    let mut parts =
        trace.filter(|trace| rooted_in_generator(trace)).map(attribution::attribute).unwrap_or_default();
    let traced: u64 = parts.iter().map(|part| part.duration_ns).sum();
    let unattributed = sample.latency_ns.saturating_sub(sample.late_ns).saturating_sub(traced);
    let blocked_by = match sample.delay_cause {
        DelayCause::PreviousReply => PREVIOUS_REPLY,
        DelayCause::BusyUsers => BUSY_USERS,
        DelayCause::Generator | DelayCause::NoFreeUser => "generator",
    };
    parts.push(part(blocked_by, ShareKind::Wait, sample.blocked_ns));
    parts.push(part("generator", ShareKind::Wait, sample.late_ns.saturating_sub(sample.blocked_ns)));
    parts.push(part("unattributed", ShareKind::Unattributed, unattributed));
    parts
}

fn rooted_in_generator(trace: &Trace) -> bool {
    trace.root().is_some_and(|root| {
        let root = &trace.spans[root];
        root.parent.is_none() && root.service() == GENERATOR
    })
}
