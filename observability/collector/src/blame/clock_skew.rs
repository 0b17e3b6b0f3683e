//! Estimates how far the clocks of two processes are apart, from the calls between them.
//!
//! The SERVER span of a call lies within its CLIENT span. If the server's clock is ahead by θ, then
//! `server.end - client.end ≤ θ ≤ server.start - client.start`: each call bounds θ from both sides. The estimate is the
//! middle of the range that most calls agree on, and the uncertainty is half the width of that range.
//!
//! Source: K. Marzullo, "Maintaining the time in a distributed system" (1984), as used by NTP's clock selection.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::trace::{Hierarchy, Kind, Parent, Span, Trace};

/// The offset between the clocks of two processes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ClockSkew {
    /// The process that calls: its `service.instance.id`, or its service if it has none.
    pub client: String,
    /// The process that answers.
    pub server: String,
    /// Number of calls that the estimate rests on.
    pub calls: usize,
    /// Clock of the server minus clock of the client, in microseconds.
    pub skew_us: f64,
    /// The offset lies within this distance of the estimate.
    pub uncertainty_us: f64,
}

impl ClockSkew {
    /// Returns the smallest offset that is consistent with the calls; 0 if the clocks may agree.
    pub fn certain_us(&self) -> f64 {
        (self.skew_us.abs() - self.uncertainty_us).max(0.0)
    }
}

/// Estimates the skew of every pair of processes that call each other, largest certain one first.
pub fn clock_skews<'a>(traces: impl IntoIterator<Item = &'a Trace>) -> Vec<ClockSkew> {
    let mut ranges: BTreeMap<(&str, &str), Vec<(i128, i128)>> = BTreeMap::new();
    for (client, server) in traces.into_iter().flat_map(calls) {
        let lower = i128::from(server.end_ns) - i128::from(client.end_ns);
        let upper = i128::from(server.start_ns) - i128::from(client.start_ns);
        // A server span that is longer than its client span gives no bounds: one of them was not closed in time.
        if lower <= upper {
            ranges.entry((process(client), process(server))).or_default().push((lower, upper));
        }
    }
    let skew = |((client, server), ranges): ((&str, &str), Vec<(i128, i128)>)| {
        let (lower, upper) = agreed(&ranges)?;
        Some(ClockSkew {
            client: client.to_owned(),
            server: server.to_owned(),
            calls: ranges.len(),
            skew_us: (lower + upper) as f64 / 2e3,
            uncertainty_us: (upper - lower) as f64 / 2e3,
        })
    };
    let mut skews: Vec<ClockSkew> = ranges.into_iter().filter_map(skew).collect();
    let key = |skew: &ClockSkew| (skew.certain_us(), skew.skew_us.abs());
    skews.sort_by(|a, b| key(b).0.total_cmp(&key(a).0).then(key(b).1.total_cmp(&key(a).1)));
    skews
}

/// Returns the client and the server span of each call between two processes.
fn calls(trace: &Trace) -> Vec<(&Span, &Span)> {
    let hierarchy = Hierarchy::of(trace);
    let mut servers: BTreeMap<usize, Vec<&Span>> = BTreeMap::new();
    for (index, span) in trace.spans.iter().enumerate().filter(|(_, span)| span.kind == Kind::Server) {
        if let Parent::At(parent) = hierarchy.parent(index) {
            servers.entry(parent).or_default().push(span);
        }
    }
    let mut calls = Vec::new();
    for (parent, servers) in servers {
        let client = &trace.spans[parent];
        // Of several servers below one client span, it is unknown which one the client waited for.
        if let [server] = servers.as_slice()
            && client.kind == Kind::Client
            && process(client) != process(server)
        {
            calls.push((client, *server));
        }
    }
    calls
}

/// Returns the name of the process of a span.
fn process(span: &Span) -> &str {
    let attributes = span.resource.attributes.iter();
    let instance = attributes.filter(|attribute| attribute.key == "service.instance.id");
    instance.filter_map(|attribute| attribute.value.as_str()).next().unwrap_or_else(|| span.service())
}

/// Returns the range that lies in most of the given ranges; of several, the first.
fn agreed(ranges: &[(i128, i128)]) -> Option<(i128, i128)> {
    // Ranges that touch overlap, so at one point starts come before ends.
    let mut edges: Vec<(i128, bool)> =
        ranges.iter().flat_map(|(lower, upper)| [(*lower, false), (*upper, true)]).collect();
    edges.sort_unstable();
    let (mut overlap, mut most, mut best) = (0, 0, None);
    for (position, (at, is_end)) in edges.iter().enumerate() {
        if *is_end {
            overlap -= 1;
            continue;
        }
        overlap += 1;
        if overlap > most {
            most = overlap;
            best = edges.get(position + 1).map(|(next, _)| (*at, *next));
        }
    }
    best
}

#[cfg(test)]
mod tests;
