//! Where the latency of the requests around a percentile went.
//!
//! The latency counts from the due instant, so it has three parts: before the send, which is the generator's; the
//! trace's critical path, whose segments belong to hops; and the rest, which no span covers. Shares are sums of
//! nanoseconds over the chosen requests, divided by the sum of their latencies, and so sum to one.

use std::collections::HashMap;

use collector::blame::attribution::{self, Part, ShareKind};
use collector::trace::{Trace, TraceId};

use crate::bundle::schema::Blame;
use crate::measure::{Measured, RequestKind, Sample};

#[cfg(test)]
mod tests;

/// The percentiles blamed.
pub(crate) const PERCENTILES: [f64; 4] = [50.0, 90.0, 99.0, 99.9];
/// Requests on each side of a percentile, at most.
const REACH: usize = 25;
/// The name of the generator's own service.
const GENERATOR: &str = "loadtest";

/// The requests of one name around one percentile.
pub(crate) struct Window<'a> {
    request: &'static str,
    percentile: f64,
    latency_ns: u64,
    samples: Vec<&'a Sample>,
}

impl<'a> Window<'a> {
    /// The ids of the traces that the window is explained by.
    pub(crate) fn traces(&self) -> impl Iterator<Item = TraceId> + use<'_, 'a> {
        self.samples.iter().map(|sample| sample.trace)
    }

    /// The percentile itself, and whether it is over requests of all names.
    pub(crate) fn is(&self, percentile: f64) -> bool {
        self.request == "all" && self.percentile == percentile
    }

    /// The request in the middle: the percentile itself.
    pub(crate) fn middle(&self) -> Option<&'a Sample> {
        self.samples.get(self.samples.len() / 2).copied()
    }
}

/// A window for each percentile: of all requests, and of each name that was requested.
pub(crate) fn windows(measured: &Measured) -> Vec<Window<'_>> {
    let names = std::iter::once(None).chain(RequestKind::ALL.map(Some));
    names.flat_map(|name| windows_of(measured, name)).collect()
}

fn windows_of(measured: &Measured, name: Option<RequestKind>) -> Vec<Window<'_>> {
    let mut samples: Vec<&Sample> = measured
        .phase(false)
        .filter(|sample| sample.sampled && name.is_none_or(|name| sample.kind == name))
        .collect();
    samples.sort_by_key(|sample| sample.latency_ns);
    let count = samples.len();
    let window = |percentile: f64| {
        let beyond = count as f64 * (1.0 - percentile / 100.0);
        let rank = ((count as f64 * percentile / 100.0).ceil() as usize).clamp(1, count) - 1;
        // A quarter of what lies beyond the percentile: the window must not reach the next one.
        let reach = ((beyond / 4.0) as usize).min(REACH);
        Window {
            request: name.map_or("all", RequestKind::as_str),
            percentile,
            latency_ns: samples[rank].latency_ns,
            samples: samples[rank.saturating_sub(reach)..(rank + reach + 1).min(count)].to_vec(),
        }
    };
    if count == 0 { Vec::new() } else { PERCENTILES.map(window).into() }
}

/// Attributes the latency of a window's requests, by those of its traces that were kept.
pub(crate) fn blame(window: &Window<'_>, traces: &HashMap<TraceId, Trace>) -> Blame {
    let mut parts = Vec::new();
    let mut explained = 0;
    for sample in &window.samples {
        let trace = traces.get(&sample.trace);
        explained += usize::from(trace.is_some());
        parts.extend(attribute(sample, trace));
    }
    Blame {
        request: window.request.to_owned(),
        percentile: window.percentile,
        latency_us: window.latency_ns as f64 / 1e3,
        traces: explained,
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
