//! Whether spans of a trace are missing, judged by a few fields of each span.
//!
//! The ledger judges stored traces. The store judges a trace when it evicts it: under its lock, without decoding spans
//! and without allocating for each trace.

use telemetry::contract::PEER_SPAN_ID;

use super::entry::{Entry, Record};
use crate::otlp::wire::{Field, Fields, Malformed};
use crate::otlp::{kind, status_code};
use crate::trace::{Kind, Span, SpanId, StatusCode, Trace, TraceId};

/// The fields of a trace that show whether spans are missing. Can be reused for several traces, one after another.
#[derive(Debug, Default)]
pub(crate) struct TraceFacts {
    spans: Vec<SpanFacts>,
    /// Ids of all spans.
    present: Vec<SpanId>,
    /// Ids of the PRODUCER spans whose message a span received.
    received: Vec<SpanId>,
}

#[derive(Debug, Clone, Copy)]
struct SpanFacts {
    id: SpanId,
    parent: Option<SpanId>,
    /// Id of the SERVER span that answered the call.
    answered_by: Option<SpanId>,
    /// Whether the span sent a message without an error.
    sent: bool,
}

/// The first sign of a missing span. Spans are given by their positions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Gap {
    /// The parent of this span is missing.
    Parent { span: usize },
    /// The trace has this number of roots instead of one.
    Roots(usize),
    /// The span that answered this call is missing.
    Answer { span: usize, peer: SpanId },
    /// No span received the message of this one.
    Receiver { span: usize },
}

impl TraceFacts {
    /// Returns the facts of a decoded trace.
    pub(crate) fn of(trace: &Trace) -> Self {
        let mut facts = Self::default();
        for span in &trace.spans {
            facts.received.extend(receives(span));
            let answered_by = span.attribute(PEER_SPAN_ID).and_then(|id| id.as_str()?.parse().ok());
            let sent = span.kind == Kind::Producer && !span.is_error();
            facts.spans.push(SpanFacts { id: span.span_id, parent: span.parent, answered_by, sent });
        }
        facts
    }

    /// Returns whether no span of a stored trace is missing. Replaces the facts of an earlier trace.
    pub(super) fn is_complete(&mut self, trace_id: TraceId, entry: &Entry) -> bool {
        self.spans.clear();
        self.received.clear();
        let trace_id = trace_id.0.to_be_bytes();
        // Stored spans were validated on arrival, so reading them does not fail.
        let read = entry.records().try_for_each(|record| self.add(&trace_id, &record));
        read.is_ok() && self.first_gap().is_none()
    }

    fn add(&mut self, trace_id: &[u8], record: &Record<'_>) -> Result<(), Malformed> {
        let parent = (record.parent != 0).then_some(SpanId(record.parent));
        let (mut span_kind, mut status, mut answered_by) = (Kind::Unspecified, StatusCode::Unset, None);
        let mut fields = Fields(record.body);
        while let Some((number, field)) = fields.next()? {
            match number {
                6 => span_kind = kind(field.varint()? as i32),
                9 if answered_by.is_none() => answered_by = peer(field.bytes()?)?,
                13 => self.received.extend(link(trace_id, field.bytes()?)?),
                15 => status = status_code(status_number(field.bytes()?)?),
                _ => {}
            }
        }
        if span_kind == Kind::Consumer {
            self.received.extend(parent);
        }
        let sent = span_kind == Kind::Producer && status != StatusCode::Error;
        self.spans.push(SpanFacts {
            id: SpanId(record.span_id),
            parent,
            answered_by: answered_by.flatten(),
            sent,
        });
        Ok(())
    }

    /// Returns the first gap; missing parents come first.
    pub(crate) fn first_gap(&mut self) -> Option<Gap> {
        let Self { spans, present, received } = self;
        present.clear();
        present.extend(spans.iter().map(|span| span.id));
        present.sort_unstable();
        received.sort_unstable();
        let is_present = |id: SpanId| present.binary_search(&id).is_ok();
        let is_orphan = |span: &SpanFacts| span.parent.is_some_and(|parent| !is_present(parent));
        if let Some(span) = spans.iter().position(is_orphan) {
            return Some(Gap::Parent { span });
        }
        let mut roots = spans.iter().filter(|span| span.parent.is_none()).map(|span| span.id);
        // Spans that arrived twice are one root.
        let first = roots.next();
        let others = roots.filter(|id| Some(*id) != first).count();
        if first.is_none() || others > 0 {
            return Some(Gap::Roots(usize::from(first.is_some()) + others));
        }
        spans.iter().enumerate().find_map(|(index, span)| match span.answered_by {
            Some(peer) if !is_present(peer) => Some(Gap::Answer { span: index, peer }),
            _ if span.sent && received.binary_search(&span.id).is_err() => {
                Some(Gap::Receiver { span: index })
            }
            _ => None,
        })
    }
}

/// Returns the PRODUCER spans whose message this span received: its parent if it is a consumer, and the spans it links to.
fn receives(span: &Span) -> impl Iterator<Item = SpanId> {
    let parent = if span.kind == Kind::Consumer { span.parent } else { None };
    let linked = span.links.iter().filter(|link| link.trace_id == Some(span.trace_id));
    parent.into_iter().chain(linked.filter_map(|link| link.span_id))
}

/// Reads an attribute. Returns `None` if it is not the peer's id, and `Some(None)` if it is, but the id is invalid.
fn peer(attribute: &[u8]) -> Result<Option<Option<SpanId>>, Malformed> {
    let (mut is_peer, mut value) = (false, None);
    let mut fields = Fields(attribute);
    while let Some((number, field)) = fields.next()? {
        match number {
            1 => is_peer = field.bytes()? == PEER_SPAN_ID.as_bytes(),
            2 => value = Some(field.bytes()?),
            _ => {}
        }
    }
    if !is_peer {
        return Ok(None);
    }
    let mut fields = Fields(value.unwrap_or_default());
    let mut id = None;
    while let Some((number, field)) = fields.next()? {
        id =
            if let (1, Field::Bytes(text)) = (number, field) { std::str::from_utf8(text).ok() } else { None };
    }
    Ok(Some(id.and_then(|id| id.parse().ok())))
}

/// Reads a link. Returns the span id if it is within the trace.
fn link(trace_id: &[u8], link: &[u8]) -> Result<Option<SpanId>, Malformed> {
    let (mut is_within, mut span) = (false, None);
    let mut fields = Fields(link);
    while let Some((number, field)) = fields.next()? {
        match number {
            1 => is_within = field.bytes()? == trace_id,
            2 => span = SpanId::from_bytes(field.bytes()?),
            _ => {}
        }
    }
    Ok(span.filter(|_| is_within))
}

fn status_number(status: &[u8]) -> Result<i32, Malformed> {
    let mut code = 0;
    let mut fields = Fields(status);
    while let Some((number, field)) = fields.next()? {
        if number == 3 {
            code = field.varint()? as i32;
        }
    }
    Ok(code)
}

#[cfg(test)]
mod tests;
