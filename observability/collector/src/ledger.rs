//! Accounts for every expected trace: it is complete, or counted in the row that says how it was lost.
//!
//! A trace is complete if it has one root, every parent is present, every span that answered a call (`peer.span_id` on the
//! client span) is present, every message sent without error has a consumer (a child, or a span of the same trace that links
//! to the send), and no exporter reported dropped spans of it.

use std::collections::{BTreeMap, HashSet};

use crate::store::Lookup;
use crate::trace::{Kind, Span, SpanId, Trace, TraceId};

/// Maximum number of examples.
const MAX_EXAMPLES: usize = 20;

/// The state of a trace: the first variant that applies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LedgerRow {
    /// No span is missing.
    Complete,
    /// The store evicted it.
    Evicted,
    /// An exporter reported that it dropped spans of it.
    DroppedByExporter,
    /// The parent of one of its spans is missing.
    Orphaned,
    /// No span was received, or a span that must exist is missing.
    Missing,
}

/// Number of traces in each row. The rows sum to `expected`.
#[derive(Debug, Clone, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
pub struct Ledger {
    /// Traces in the request.
    pub expected: u64,
    /// Complete traces.
    pub complete: u64,
    /// Traces of which an exporter dropped spans.
    pub dropped_by_exporter: u64,
    /// Traces that the store evicted.
    pub evicted: u64,
    /// Evicted traces by reason; reasons without traces are absent.
    #[serde(default)]
    pub evicted_by_reason: BTreeMap<String, u64>,
    /// Traces with a span whose parent is missing.
    pub orphaned: u64,
    /// Traces without spans, or without a span that must exist.
    pub missing: u64,
    /// Up to 20 traces that are not complete.
    #[serde(default)]
    pub examples: Vec<Example>,
}

/// A trace that is not complete.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Example {
    /// Its id.
    pub trace_id: TraceId,
    /// Its row.
    pub row: LedgerRow,
    /// What is missing.
    pub why: String,
}

impl Ledger {
    /// Adds a trace that occurs `times` times in the request. `dropped` is whether an exporter reported dropped spans of it.
    pub(crate) fn enter(&mut self, trace_id: TraceId, times: u64, lookup: &Lookup, dropped: bool) {
        let (row, why) = classify(lookup, dropped);
        self.expected += times;
        *match row {
            LedgerRow::Complete => &mut self.complete,
            LedgerRow::Evicted => &mut self.evicted,
            LedgerRow::DroppedByExporter => &mut self.dropped_by_exporter,
            LedgerRow::Orphaned => &mut self.orphaned,
            LedgerRow::Missing => &mut self.missing,
        } += times;
        if let Lookup::Evicted(reason) = lookup {
            *self.evicted_by_reason.entry(reason.as_str().to_owned()).or_default() += times;
        }
        if row != LedgerRow::Complete && self.examples.len() < MAX_EXAMPLES {
            self.examples.push(Example { trace_id, row, why });
        }
    }
}

fn classify(lookup: &Lookup, dropped: bool) -> (LedgerRow, String) {
    let (row, why) = match lookup {
        Lookup::Evicted(reason) => {
            return (LedgerRow::Evicted, format!("removed to free space: {}", reason.as_str()));
        }
        Lookup::Unknown => (LedgerRow::Missing, "no span was received".to_owned()),
        Lookup::Stored(trace) => match gap(trace) {
            // A dropped leaf leaves no gap; only the exporter's report shows it.
            None if dropped => (LedgerRow::DroppedByExporter, "no gap".to_owned()),
            None => return (LedgerRow::Complete, String::new()),
            Some(gap) => gap,
        },
    };
    if dropped {
        (LedgerRow::DroppedByExporter, format!("{why}; an exporter dropped spans"))
    } else {
        (row, why)
    }
}

/// Returns the first gap of a trace; orphaned spans come first.
fn gap(trace: &Trace) -> Option<(LedgerRow, String)> {
    let present: HashSet<SpanId> = trace.spans.iter().map(|span| span.span_id).collect();
    let orphan = |span: &&Span| span.parent.is_some_and(|parent| !present.contains(&parent));
    if let Some(span) = trace.spans.iter().find(orphan) {
        let parent = span.parent.map(|id| id.to_string()).unwrap_or_default();
        return Some((LedgerRow::Orphaned, format!("parent {parent} of {} is missing", describe(span))));
    }
    let roots: HashSet<SpanId> =
        trace.spans.iter().filter(|span| span.parent.is_none()).map(|span| span.span_id).collect();
    if roots.len() != 1 {
        return Some((LedgerRow::Missing, format!("{} roots instead of one", roots.len())));
    }
    let received: HashSet<SpanId> = trace.spans.iter().flat_map(receives).collect();
    trace.spans.iter().find_map(|span| {
        let why = if let Some(peer) = answered_by(span)
            && !present.contains(&peer)
        {
            format!("span {peer}, which answered {}, is missing", describe(span))
        } else if span.kind == Kind::Producer && !span.is_error() && !received.contains(&span.span_id) {
            format!("no span received the message of {}", describe(span))
        } else {
            return None;
        };
        Some((LedgerRow::Missing, why))
    })
}

/// Returns the producer spans whose message this span received: its parent if it is a consumer, and the spans it links to.
fn receives(span: &Span) -> impl Iterator<Item = SpanId> {
    let parent = if span.kind == Kind::Consumer { span.parent } else { None };
    let linked = span.links.iter().filter(|link| link.trace_id == Some(span.trace_id));
    parent.into_iter().chain(linked.filter_map(|link| link.span_id))
}

/// Returns the id of the server span, which the reply to the call carried.
fn answered_by(span: &Span) -> Option<SpanId> {
    span.attribute(telemetry::contract::PEER_SPAN_ID)?.as_str()?.parse().ok()
}

fn describe(span: &Span) -> String {
    format!("{} {:?} ({} {})", span.service(), span.operation(), span.kind.as_str(), span.span_id)
}

#[cfg(test)]
mod tests;
