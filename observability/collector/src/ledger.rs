//! Accounts for every expected trace: it is complete, or counted in the row that says how it was lost.
//!
//! A trace is complete if it has one root, every parent is present, every span that answered a call (`peer.span_id` on the
//! client span) is present, every message sent without error has a consumer (a child, or a span of the same trace that links
//! to the send), and no exporter reported dropped spans of it. An evicted trace was judged when it left the store.

use std::collections::BTreeMap;

use crate::store::{Eviction, Gap, Lookup, TraceFacts};
use crate::trace::{Span, Trace, TraceId};

/// Maximum number of examples.
const MAX_EXAMPLES: usize = 20;

/// The state of a trace: the first variant that applies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LedgerRow {
    /// No span is missing.
    Complete,
    /// The store evicted it when no span was missing.
    CompleteThenEvicted,
    /// The store evicted it when a span was missing, or an exporter reported that it dropped spans of it.
    IncompleteThenEvicted,
    /// The store evicted it. Only in files of older versions, which lack the completeness.
    Evicted,
    /// An exporter reported that it dropped spans of it.
    DroppedByExporter,
    /// The parent of one of its spans is missing.
    Orphaned,
    /// No span was received, or a span that must exist is missing.
    Missing,
}

impl LedgerRow {
    /// Returns whether spans of the trace were lost before they could be stored.
    fn is_loss(self) -> bool {
        !matches!(self, Self::Complete | Self::CompleteThenEvicted)
    }
}

/// Number of traces in each row. `complete`, `dropped_by_exporter`, `evicted`, `orphaned` and `missing` sum to `expected`.
#[derive(Debug, Clone, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
pub struct Ledger {
    /// Traces in the request.
    pub expected: u64,
    /// Complete traces.
    pub complete: u64,
    /// Traces of which an exporter dropped spans.
    pub dropped_by_exporter: u64,
    /// Traces that the store evicted. The next two rows divide them.
    pub evicted: u64,
    /// Traces that the store evicted when they were complete.
    #[serde(default)]
    pub complete_then_evicted: u64,
    /// Traces that the store evicted when spans of them were missing.
    #[serde(default)]
    pub incomplete_then_evicted: u64,
    /// Evicted traces by reason; reasons without traces are absent.
    #[serde(default)]
    pub evicted_by_reason: BTreeMap<String, u64>,
    /// Traces with a span whose parent is missing.
    pub orphaned: u64,
    /// Traces without spans, or without a span that must exist.
    pub missing: u64,
    /// Up to 20 traces that are not complete; those that were evicted when complete come last.
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
            LedgerRow::CompleteThenEvicted => &mut self.complete_then_evicted,
            LedgerRow::IncompleteThenEvicted => &mut self.incomplete_then_evicted,
            LedgerRow::Evicted => &mut self.evicted,
            LedgerRow::DroppedByExporter => &mut self.dropped_by_exporter,
            LedgerRow::Orphaned => &mut self.orphaned,
            LedgerRow::Missing => &mut self.missing,
        } += times;
        if let Lookup::Evicted(Eviction { reason, .. }) = lookup {
            *self.evicted_by_reason.entry(reason.as_str().to_owned()).or_default() += times;
            self.evicted += if row == LedgerRow::Evicted { 0 } else { times };
        }
        if row != LedgerRow::Complete {
            self.add_example(Example { trace_id, row, why });
        }
    }

    /// Adds the counts and examples of other traces.
    pub fn merge(&mut self, other: Self) {
        self.expected += other.expected;
        self.complete += other.complete;
        self.dropped_by_exporter += other.dropped_by_exporter;
        self.evicted += other.evicted;
        self.complete_then_evicted += other.complete_then_evicted;
        self.incomplete_then_evicted += other.incomplete_then_evicted;
        for (reason, count) in other.evicted_by_reason {
            *self.evicted_by_reason.entry(reason).or_default() += count;
        }
        self.orphaned += other.orphaned;
        self.missing += other.missing;
        other.examples.into_iter().for_each(|example| self.add_example(example));
    }

    /// Adds an example after those that are at least as important, if there is space.
    fn add_example(&mut self, example: Example) {
        let losses = self.examples.partition_point(|other| other.row.is_loss());
        let at = if example.row.is_loss() { losses } else { self.examples.len() };
        self.examples.insert(at, example);
        self.examples.truncate(MAX_EXAMPLES);
    }
}

fn classify(lookup: &Lookup, dropped: bool) -> (LedgerRow, String) {
    let (row, why) = match lookup {
        Lookup::Evicted(eviction) => return evicted(*eviction, dropped),
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

fn evicted(Eviction { reason, was_complete }: Eviction, dropped: bool) -> (LedgerRow, String) {
    let (row, state) = match was_complete {
        _ if dropped => (LedgerRow::IncompleteThenEvicted, "; an exporter dropped spans"),
        Some(true) => (LedgerRow::CompleteThenEvicted, "; it was complete"),
        Some(false) => (LedgerRow::IncompleteThenEvicted, "; spans were missing"),
        None => (LedgerRow::Evicted, ""),
    };
    (row, format!("removed to free space: {}{state}", reason.as_str()))
}

/// Returns the first gap of a trace.
fn gap(trace: &Trace) -> Option<(LedgerRow, String)> {
    let describe = |index: usize| describe(&trace.spans[index]);
    Some(match TraceFacts::of(trace).first_gap()? {
        Gap::Parent { span } => {
            let parent = trace.spans[span].parent.map(|id| id.to_string()).unwrap_or_default();
            (LedgerRow::Orphaned, format!("parent {parent} of {} is missing", describe(span)))
        }
        Gap::Roots(roots) => (LedgerRow::Missing, format!("{roots} roots instead of one")),
        Gap::Answer { span, peer } => {
            (LedgerRow::Missing, format!("span {peer}, which answered {}, is missing", describe(span)))
        }
        Gap::Receiver { span } => {
            (LedgerRow::Missing, format!("no span received the message of {}", describe(span)))
        }
    })
}

fn describe(span: &Span) -> String {
    format!("{} {:?} ({} {})", span.service(), span.operation(), span.kind.as_str(), span.span_id)
}

#[cfg(test)]
mod tests;
