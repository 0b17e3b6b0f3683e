//! Attribution of a request's duration to hops, along the critical path of its trace.
//!
//! Each segment of the critical path counts for one hop, by the span that it belongs to:
//!
//! | span | hop | kind |
//! |---|---|---|
//! | with the attribute [`workbench.wait`](contract::WAIT) | its service | [`Wait`](ShareKind::Wait) |
//! | with the attribute [`db.system.name`](contract::DB_SYSTEM_NAME) | `database` | [`Work`](ShareKind::Work) |
//! | CLIENT | `caller → called service`, or `caller → ?` without a SERVER span | [`Transit`](ShareKind::Transit) |
//! | any other | its service | [`Work`](ShareKind::Work) |

use std::collections::{BTreeMap, HashMap};

use serde::{Deserialize, Serialize};
use telemetry::contract;

use super::critical_path::critical_path;
use crate::trace::{Hierarchy, Kind, Parent, Span, Trace, Value};

/// How a hop spent a part of a request's latency.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ShareKind {
    /// Computing.
    Work,
    /// Waiting for a pool, a permit, a lease or another request's result; in a load generator, for the previous reply.
    Wait,
    /// Between two services: sockets, kernel queues, the scheduler.
    Transit,
    /// In no span of a stored trace.
    Unattributed,
}

/// A part of a request's latency.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// A service, `database`, or `A → B` for the time between two services.
    pub hop: String,
    /// How the time was spent.
    pub kind: ShareKind,
    /// Length in nanoseconds.
    pub duration_ns: u64,
}

/// A hop's share of the latency of one or more requests.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Share {
    /// A service, `database`, or `A → B` for the time between two services.
    pub hop: String,
    /// How the time was spent.
    pub kind: ShareKind,
    /// From 0 to 1.
    pub share: f64,
}

/// Splits the duration of a trace's root into parts, one for each segment of the critical path.
pub fn attribute(trace: &Trace) -> Vec<Part> {
    let callees = callees(trace);
    let part = |segment: super::critical_path::Segment| {
        let callee = callees.get(&segment.span).copied();
        let (hop, kind) = hop(&trace.spans[segment.span], callee);
        Part { hop, kind, duration_ns: segment.end_ns - segment.start_ns }
    };
    critical_path(trace).into_iter().map(part).collect()
}

/// Sums parts by hop and kind and returns their shares of the total, largest first. The shares sum to 1.
pub fn shares(parts: impl IntoIterator<Item = Part>) -> Vec<Share> {
    let mut totals: BTreeMap<(String, ShareKind), u64> = BTreeMap::new();
    for part in parts {
        *totals.entry((part.hop, part.kind)).or_default() += part.duration_ns;
    }
    let total: u64 = totals.values().sum();
    let mut shares: Vec<Share> = totals
        .into_iter()
        .filter(|(_, ns)| *ns > 0)
        .map(|((hop, kind), ns)| Share { hop, kind, share: ns as f64 / total.max(1) as f64 })
        .collect();
    shares.sort_by(|a, b| b.share.total_cmp(&a.share));
    shares
}

/// Returns the service that answered each call, by the position of the calling span.
fn callees(trace: &Trace) -> HashMap<usize, &str> {
    let hierarchy = Hierarchy::of(trace);
    let call = |(index, span): (usize, &Span)| match hierarchy.parent(index) {
        Parent::At(parent) if span.kind == Kind::Server => Some((parent, index)),
        _ => None,
    };
    let calls = trace.spans.iter().enumerate().filter_map(call);
    calls.map(|(caller, callee)| (caller, trace.spans[callee].service())).collect()
}

fn hop(span: &Span, callee: Option<&str>) -> (String, ShareKind) {
    let service = span.service();
    if span.attribute(contract::WAIT) == Some(&Value::Bool(true)) {
        return (service.to_owned(), ShareKind::Wait);
    }
    if span.attribute(contract::DB_SYSTEM_NAME).is_some() {
        return ("database".to_owned(), ShareKind::Work);
    }
    match (span.kind, callee) {
        (Kind::Client, Some(callee)) => (format!("{service} → {callee}"), ShareKind::Transit),
        (Kind::Client, None) => (format!("{service} → ?"), ShareKind::Transit),
        _ => (service.to_owned(), ShareKind::Work),
    }
}

#[cfg(test)]
mod tests;
