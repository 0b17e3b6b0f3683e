//! Where the latency of the requests around a percentile went.
//!
//! The latency counts from the due instant, so it has three parts: before the send, which is the generator's; the
//! trace's critical path, whose segments belong to hops; and the rest, which no span covers. Shares are sums of
//! nanoseconds over the chosen requests, divided by the sum of their latencies, and so sum to one.

use std::collections::{BTreeMap, HashMap};

use collector::blame::critical_path::critical_path;
use collector::trace::{Kind, Span, SpanId, Trace, TraceId, Value};
use telemetry::contract;

use crate::bundle::schema::{Blame, Share, ShareKind};
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

/// Explains a window by those of its traces that were kept.
pub(crate) fn blame(window: &Window<'_>, traces: &HashMap<TraceId, Trace>) -> Blame {
    let mut nanos: BTreeMap<(String, ShareKind), u64> = BTreeMap::new();
    let mut explained = 0;
    for sample in &window.samples {
        let trace = traces.get(&sample.trace);
        explained += usize::from(trace.is_some());
        for (hop, spent) in attribute(sample, trace) {
            *nanos.entry(hop).or_default() += spent;
        }
    }
    let sum: u64 = nanos.values().sum();
    let mut shares: Vec<Share> = nanos
        .into_iter()
        .filter(|(_, spent)| *spent > 0)
        .map(|((hop, kind), spent)| Share { hop, kind, share: spent as f64 / sum.max(1) as f64 })
        .collect();
    shares.sort_by(|a, b| b.share.total_cmp(&a.share));
    Blame {
        request: window.request.to_owned(),
        percentile: window.percentile,
        latency_us: window.latency_ns as f64 / 1e3,
        traces: explained,
        shares,
    }
}

/// The nanoseconds of one request by hop; they sum to its latency, or to its trace if the clocks say that is longer.
fn attribute(sample: &Sample, trace: Option<&Trace>) -> Vec<((String, ShareKind), u64)> {
    let mut parts = vec![(("generator".to_owned(), ShareKind::Wait), sample.late_ns)];
    let mut left = sample.latency_ns.saturating_sub(sample.late_ns);
    if let Some(trace) = trace.filter(|trace| rooted_in_generator(trace)) {
        let called = called(trace);
        for segment in critical_path(trace) {
            let spent = segment.end_ns - segment.start_ns;
            left = left.saturating_sub(spent);
            parts.push((hop(&trace.spans[segment.span], &called), spent));
        }
    }
    parts.push((("unattributed".to_owned(), ShareKind::Unattributed), left));
    parts
}

fn rooted_in_generator(trace: &Trace) -> bool {
    trace.root().is_some_and(|root| {
        let root = &trace.spans[root];
        root.parent.is_none() && root.service() == GENERATOR
    })
}

/// For each span that was answered: the service that did.
fn called(trace: &Trace) -> HashMap<SpanId, &str> {
    let servers = trace.spans.iter().filter(|span| span.kind == Kind::Server);
    servers.filter_map(|span| span.parent.map(|parent| (parent, span.service()))).collect()
}

fn hop(span: &Span, called: &HashMap<SpanId, &str>) -> (String, ShareKind) {
    let service = span.service();
    if span.attribute(contract::WAIT) == Some(&Value::Bool(true)) {
        return (service.to_owned(), ShareKind::Wait);
    }
    if span.attribute(contract::DB_SYSTEM_NAME).is_some() {
        return ("database".to_owned(), ShareKind::Work);
    }
    match (span.kind, called.get(&span.span_id)) {
        (Kind::Client, Some(peer)) => (format!("{service} → {peer}"), ShareKind::Transit),
        (Kind::Client, None) => (format!("{service} → ?"), ShareKind::Transit),
        _ => (service.to_owned(), ShareKind::Work),
    }
}
