//! The spans of one trace in one buffer.

use std::sync::Arc;

use opentelemetry_proto::tonic::trace::v1::Span as ProtoSpan;
use prost::Message as _;

use super::origins::Shared;
use crate::otlp;
use crate::span::{Span, Trace, TraceId};

/// Before each span: which origin (4 bytes), and how long the span is (4 bytes), little-endian.
const HEADER: usize = 8;

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

    pub(super) fn spans(&self) -> u32 {
        self.spans
    }

    pub(super) fn bytes(&self) -> usize {
        self.records.capacity() + self.origins.capacity() * size_of::<Shared>()
    }

    pub(super) fn decode(&self, id: TraceId) -> Trace {
        let mut spans = Vec::with_capacity(self.spans as usize);
        let mut rest = self.records.as_slice();
        while let Some((span, after)) = self.next(id, rest) {
            spans.extend(span);
            rest = after;
        }
        Trace { spans }
    }

    /// The next record's span, which decodes as it was once encoded, and what follows it.
    fn next<'a>(&self, id: TraceId, records: &'a [u8]) -> Option<(Option<Span>, &'a [u8])> {
        let (origin, rest) = records.split_first_chunk()?;
        let (length, rest) = rest.split_first_chunk()?;
        let (span, after) = rest.split_at_checked(u32::from_le_bytes(*length) as usize)?;
        let origin = self.origins.get(u32::from_le_bytes(*origin) as usize)?;
        let span = ProtoSpan::decode(span).ok();
        Some((span.and_then(|span| otlp::span(span, id, &origin.resource, &origin.scope)), after))
    }
}
