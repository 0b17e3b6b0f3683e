//! Every trace that should be here is complete, or stands in the row that says how it was lost.
//!
//! Complete means: one root, every parent present, every span that answered a call (`peer.span_id` on the call)
//! present, for every message sent without error a span that received it, as its child or by a link in the same
//! trace, and no exporter's report that it dropped spans of it.

use std::collections::{BTreeMap, HashSet};

use crate::store::Lookup;
use crate::trace::{Kind, Span, SpanId, Trace, TraceId};

/// Examples given of what is wrong, at most.
const MAX_EXAMPLES: usize = 20;

/// What became of a trace: the first of these that holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Row {
    /// Nothing is missing.
    Complete,
    /// The store let it go to make room.
    Evicted,
    /// An exporter reported that it dropped spans of it.
    DroppedByExporter,
    /// A span's parent never came.
    Orphaned,
    /// Nothing came, or a span that must exist did not.
    Missing,
}

/// How many traces stand in each row. The rows sum to `expected`.
#[derive(Debug, Clone, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
pub struct Ledger {
    /// Traces asked for.
    pub expected: u64,
    /// Those that are complete.
    pub complete: u64,
    /// Those that lost spans in an exporter.
    pub dropped_by_exporter: u64,
    /// Those that the store let go.
    pub evicted: u64,
    /// The same by why it did; only the reasons that there are.
    #[serde(default)]
    pub evicted_by_reason: BTreeMap<String, u64>,
    /// Those with a parent that never came.
    pub orphaned: u64,
    /// Those of which nothing came, or not all.
    pub missing: u64,
    /// Some that are not complete.
    pub examples: Vec<Example>,
}

/// A trace that is not complete.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Example {
    /// Which.
    pub trace_id: TraceId,
    /// Where it stands.
    pub row: Row,
    /// What is wrong with it.
    pub why: String,
}

impl Ledger {
    /// Enters a trace that was asked for so many `times`. `lost` says whether an exporter reported that it dropped spans of
    /// it.
    pub(crate) fn enter(&mut self, trace_id: TraceId, times: u64, found: &Lookup, lost: bool) {
        let (row, why) = classify(found, lost);
        self.expected += times;
        *match row {
            Row::Complete => &mut self.complete,
            Row::Evicted => &mut self.evicted,
            Row::DroppedByExporter => &mut self.dropped_by_exporter,
            Row::Orphaned => &mut self.orphaned,
            Row::Missing => &mut self.missing,
        } += times;
        if let Lookup::Evicted(reason) = found {
            *self.evicted_by_reason.entry(reason.as_str().to_owned()).or_default() += times;
        }
        if row != Row::Complete && self.examples.len() < MAX_EXAMPLES {
            self.examples.push(Example { trace_id, row, why });
        }
    }
}

fn classify(found: &Lookup, lost: bool) -> (Row, String) {
    let (row, why) = match found {
        Lookup::Evicted(reason) => {
            return (Row::Evicted, format!("the store let it go to make room: {}", reason.as_str()));
        }
        Lookup::Unknown => (Row::Missing, "no span of it came".to_owned()),
        Lookup::Kept(trace) => match gap(trace) {
            // A leaf leaves no gap: only the exporter that dropped it knows of it.
            None if lost => (Row::DroppedByExporter, "nothing is seen to be missing".to_owned()),
            None => return (Row::Complete, String::new()),
            Some(gap) => gap,
        },
    };
    if lost {
        (Row::DroppedByExporter, format!("{why}; an exporter dropped spans of it"))
    } else {
        (row, why)
    }
}

/// The first thing that a trace lacks, orphans before the rest.
fn gap(trace: &Trace) -> Option<(Row, String)> {
    let present: HashSet<SpanId> = trace.spans.iter().map(|span| span.span_id).collect();
    let orphan = |span: &&Span| span.parent.is_some_and(|parent| !present.contains(&parent));
    if let Some(span) = trace.spans.iter().find(orphan) {
        let parent = span.parent.map(|id| id.to_string()).unwrap_or_default();
        return Some((Row::Orphaned, format!("the parent {parent} of {} never came", describe(span))));
    }
    let roots: HashSet<SpanId> =
        trace.spans.iter().filter(|span| span.parent.is_none()).map(|span| span.span_id).collect();
    if roots.len() != 1 {
        return Some((Row::Missing, format!("{} roots instead of one", roots.len())));
    }
    let received: HashSet<SpanId> = trace.spans.iter().flat_map(receives).collect();
    trace.spans.iter().find_map(|span| {
        let why = if let Some(peer) = answered_by(span)
            && !present.contains(&peer)
        {
            format!("{} was answered by span {peer}, which never came", describe(span))
        } else if span.kind == Kind::Producer && !span.is_error() && !received.contains(&span.span_id) {
            format!("no span received what {} sent", describe(span))
        } else {
            return None;
        };
        Some((Row::Missing, why))
    })
}

/// The sends whose message this span received: its parent if it is a consumer, and whatever it links to.
fn receives(span: &Span) -> impl Iterator<Item = SpanId> {
    let parent = if span.kind == Kind::Consumer { span.parent } else { None };
    let linked = span.links.iter().filter(|link| link.trace_id == Some(span.trace_id));
    parent.into_iter().chain(linked.filter_map(|link| link.span_id))
}

/// The span that says it served this call, by what the reply carried.
fn answered_by(span: &Span) -> Option<SpanId> {
    span.attribute(telemetry::contract::PEER_SPAN_ID)?.as_str()?.parse().ok()
}

fn describe(span: &Span) -> String {
    format!("{} {:?} ({} {})", span.service(), span.name, span.kind.as_str(), span.span_id)
}

#[cfg(test)]
mod tests;
