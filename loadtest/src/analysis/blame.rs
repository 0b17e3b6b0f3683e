//! Where the latency of the requests around a percentile went.
//!
//! The latency counts from the due instant and has three parts: the time before the send, which belongs to the generator;
//! the critical path of the trace, whose segments belong to hops; and the rest, which no span covers. A share is a sum of
//! nanoseconds over the selected requests divided by the sum of their latencies, so the shares sum to one.

use std::collections::HashMap;

use collector::blame::attribution::{self, Part, ShareKind};
use collector::trace::{Trace, TraceId};

use crate::bundle::schema::Blame;
use crate::measure::{Measured, RequestKind, Sample};

#[cfg(test)]
mod tests;

/// Percentiles at which the report shows where the time went.
pub(crate) const PERCENTILES: [f64; 4] = [50.0, 90.0, 99.0, 99.9];
/// Maximum number of requests on each side of a percentile.
const REACH: usize = 25;
/// The name of the generator's own service.
const GENERATOR: &str = "loadtest";

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

    /// Returns whether this is the band of `percentile` over requests of all kinds.
    pub(crate) fn is(&self, percentile: f64) -> bool {
        self.request == "all" && self.percentile == percentile
    }

    /// Returns the request in the middle: the percentile itself.
    pub(crate) fn middle(&self) -> Option<&'a Sample> {
        self.samples.get(self.samples.len() / 2).copied()
    }
}

/// Returns one band for each percentile, for all requests and for each kind.
pub(crate) fn bands(measured: &Measured) -> Vec<Band<'_>> {
    let names = std::iter::once(None).chain(RequestKind::ALL.map(Some));
    names.flat_map(|name| bands_of(measured, name)).collect()
}

fn bands_of(measured: &Measured, name: Option<RequestKind>) -> Vec<Band<'_>> {
    let mut samples: Vec<&Sample> = measured
        .phase(false)
        .filter(|sample| sample.sampled && name.is_none_or(|name| sample.kind == name))
        .collect();
    samples.sort_by_key(|sample| sample.latency_ns);
    let count = samples.len();
    let band = |percentile: f64| {
        let beyond = count as f64 * (1.0 - percentile / 100.0);
        let rank = ((count as f64 * percentile / 100.0).ceil() as usize).clamp(1, count) - 1;
        // A quarter of the requests beyond the percentile, so that the band does not reach the next percentile.
        let reach = ((beyond / 4.0) as usize).min(REACH);
        Band {
            request: name.map_or("all", RequestKind::as_str),
            percentile,
            latency_ns: samples[rank].latency_ns,
            samples: samples[rank.saturating_sub(reach)..(rank + reach + 1).min(count)].to_vec(),
        }
    };
    if count == 0 { Vec::new() } else { PERCENTILES.map(band).into() }
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
    parts.push(part("generator", ShareKind::Wait, sample.late_ns));
    parts.push(part("unattributed", ShareKind::Unattributed, unattributed));
    parts
}

fn rooted_in_generator(trace: &Trace) -> bool {
    trace.root().is_some_and(|root| {
        let root = &trace.spans[root];
        root.parent.is_none() && root.service() == GENERATOR
    })
}
