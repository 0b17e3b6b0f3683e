//! The spans of one trace in one buffer.

use std::sync::Arc;

use opentelemetry_proto::tonic::trace::v1::Span as ProtoSpan;
use prost::Message as _;

use super::origins::Shared;
use crate::otlp;
use crate::span::{Span, Trace, TraceId};

/// Before each span: which origin (4 bytes), and how long the span is (4 bytes), little-endian.
const HEADER: usize = 8;

/// An encoded span begins with its id: tag, length and eight bytes. The trace's id before it is left out.
const SPAN_ID_END: usize = 10;

/// A trace of more spans than this is not searched for one that comes again: that would take ever longer.
const SEARCHED: u32 = 1000;

/// Buffers grow by at least this much, and by a quarter, lest each of a trace's spans move it.
const GROWTH: usize = 512;

#[derive(Debug, Clone, Default)]
pub(super) struct Entry {
    records: Vec<u8>,
    origins: Vec<Shared>,
    spans: u32,
}

impl Entry {
    pub(super) fn push(&mut self, origin: &Shared, span: &[u8]) {
        let known = self.origins.iter().position(|other| Arc::ptr_eq(other, origin));
        let index = known.unwrap_or_else(|| {
            self.origins.push(Arc::clone(origin));
            self.origins.len() - 1
        });
        let needed = HEADER + span.len();
        if self.records.capacity() - self.records.len() < needed {
            self.records.reserve_exact(needed.max(GROWTH).max(self.records.len() / 4));
        }
        // Both fit: messages are at most 16 MiB long.
        self.records.extend_from_slice(&(index as u32).to_le_bytes());
        self.records.extend_from_slice(&(span.len() as u32).to_le_bytes());
        self.records.extend_from_slice(span);
        self.spans += 1;
    }

    /// Whether this very span is here: an exporter that heard no answer sends its batch again.
    pub(super) fn holds(&self, span: &[u8]) -> bool {
        let mut rest = self.records.as_slice();
        while self.spans <= SEARCHED
            && let Some((_, record, after)) = split(rest)
        {
            if record.get(..SPAN_ID_END) == span.get(..SPAN_ID_END) && record == span {
                return true;
            }
            rest = after;
        }
        false
    }

    pub(super) fn spans(&self) -> u32 {
        self.spans
    }

    pub(super) fn bytes(&self) -> usize {
        self.records.capacity() + self.origins.capacity() * size_of::<Shared>()
    }

    pub(super) fn decode(&self, id: TraceId) -> Trace {
        let mut spans = Vec::with_capacity(self.spans as usize);
        let mut rest = self.records.as_slice();
        while let Some((origin, span, after)) = split(rest) {
            spans.extend(self.span(id, origin, span));
            rest = after;
        }
        Trace { spans }
    }

    /// Decodes as it was once encoded.
    fn span(&self, id: TraceId, origin: u32, span: &[u8]) -> Option<Span> {
        let origin = self.origins.get(origin as usize)?;
        otlp::span(ProtoSpan::decode(span).ok()?, id, &origin.resource, &origin.scope)
    }
}

/// The next record's origin and span, and what follows it.
fn split(records: &[u8]) -> Option<(u32, &[u8], &[u8])> {
    let (origin, rest) = records.split_first_chunk()?;
    let (length, rest) = rest.split_first_chunk()?;
    let (span, after) = rest.split_at_checked(u32::from_le_bytes(*length) as usize)?;
    Some((u32::from_le_bytes(*origin), span, after))
}
