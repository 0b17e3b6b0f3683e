//! The spans of one trace in one buffer.

use std::sync::Arc;

use opentelemetry_proto::tonic::trace::v1::Span as ProtoSpan;
use prost::Message as _;

use super::origins::{self, Shared};
use super::retention::Marks;
use super::tokens::Filters;
use crate::otlp;
use crate::store::validate::Head;
use crate::trace::{Attribute, Span, SpanId, Trace, TraceId};

/// Before each span's body, little-endian: which origin and how long the body is (4 bytes each), the span's id, its
/// parent's (0 is none), its start and its end (8 bytes each).
const HEADER: usize = 40;

/// A trace of more spans than this is not searched for one that comes again: that would take ever longer.
const SEARCHED: u32 = 1000;

/// Spans of one id and the same times that are compared byte by byte. Honest senders have one.
const ALIKE: usize = 4;

/// An answer that says the origin of spans anew wherever it changes may grow by so many times what the spans take.
const REPEATED: usize = 4;

/// What a part of a span takes when it is decoded, beside its texts.
const PART: usize = size_of::<Attribute>();

/// Of what a trace may take, what it may take when it is decoded, and what its resources and scopes may.
const DECODED: usize = 4;
const ORIGINS: usize = 2;

/// Allocators round up to one of four or eight sizes an octave: on average by about this part.
const ROUNDED: usize = 8;

/// Buffers grow by at least this much, and by a quarter, lest each of a trace's spans move it.
const GROWTH: usize = 512;

#[derive(Debug, Clone)]
pub(super) struct Entry {
    /// When the trace was first seen, as a number that grows.
    pub(super) seen: u64,
    pub(super) marks: Marks,
    /// How long its longest span took.
    pub(super) longest_ns: u64,
    records: Vec<u8>,
    origins: Vec<Shared>,
    filters: Filters,
    spans: u32,
    /// Attributes, events, links and items of lists.
    parts: usize,
    /// What its origins take, of which it may be the only one.
    origins_bytes: usize,
}

/// One span in its buffer.
#[derive(Debug, Clone, Copy)]
pub(super) struct Record<'e> {
    pub(super) origin: u32,
    pub(super) span_id: u64,
    pub(super) parent: u64,
    pub(super) start_ns: u64,
    pub(super) end_ns: u64,
    body: &'e [u8],
}

impl Entry {
    pub(super) fn new(seen: u64, marks: Marks) -> Self {
        Self {
            seen,
            marks,
            longest_ns: 0,
            records: Vec::new(),
            origins: Vec::new(),
            filters: Filters::default(),
            spans: 0,
            parts: 0,
            origins_bytes: 0,
        }
    }

    pub(super) fn push(&mut self, origin: &Shared, head: &Head<'_>, body: &[u8], tokens: &[u64]) {
        let known = self.origins.iter().position(|other| Arc::ptr_eq(other, origin));
        let index = known.unwrap_or_else(|| {
            self.origins.push(Arc::clone(origin));
            self.origins_bytes += origins::cost(origin.bytes);
            for token in &origin.tokens {
                self.filters.add(*token);
            }
            self.origins.len() - 1
        });
        let needed = HEADER + body.len();
        if self.records.capacity() - self.records.len() < needed {
            self.records.reserve_exact(needed.max(GROWTH).max(self.records.len() / 4));
        }
        // Both fit: messages are at most 16 MiB long.
        self.records.extend_from_slice(&(index as u32).to_le_bytes());
        self.records.extend_from_slice(&(body.len() as u32).to_le_bytes());
        let parent = head.parent.map_or(0, |SpanId(id)| id);
        for number in [head.span_id.0, parent, head.start_ns, head.end_ns] {
            self.records.extend_from_slice(&number.to_le_bytes());
        }
        self.records.extend_from_slice(body);
        for token in tokens {
            self.filters.add(*token);
        }
        self.longest_ns = self.longest_ns.max(head.end_ns.saturating_sub(head.start_ns));
        self.spans += 1;
        self.parts += head.parts;
    }

    /// Whether this very span is here: an exporter that heard no answer sends its batch again.
    pub(super) fn holds(&self, head: &Head<'_>, body: &[u8]) -> bool {
        let parent = head.parent.map_or(0, |SpanId(id)| id);
        let has_its_head = |record: &Record<'_>| {
            (record.span_id, record.parent, record.start_ns, record.end_ns)
                == (head.span_id.0, parent, head.start_ns, head.end_ns)
        };
        let mut alike = self.records().filter(has_its_head).take(ALIKE);
        self.spans <= SEARCHED && alike.any(|record| record.body == body)
    }

    pub(super) fn spans(&self) -> u32 {
        self.spans
    }

    /// Whether it, or what it needs, takes more than one trace should.
    pub(super) fn is_larger_than(&self, largest: usize) -> bool {
        let decoded = self.spans as usize * size_of::<Span>() + self.parts * PART + self.records.len();
        self.bytes() > largest
            || self.origins_bytes > largest.saturating_mul(ORIGINS)
            || decoded > largest.saturating_mul(DECODED)
    }

    pub(super) fn bytes(&self) -> usize {
        let records = self.records.capacity();
        records + records / ROUNDED + self.origins.capacity() * size_of::<Shared>() + self.filters.bytes()
    }

    pub(super) fn records(&self) -> impl Iterator<Item = Record<'_>> {
        let mut rest = self.records.as_slice();
        std::iter::from_fn(move || {
            let (record, after) = split(rest)?;
            rest = after;
            Some(record)
        })
    }

    /// Where a record's span came from.
    pub(super) fn origin(&self, record: &Record<'_>) -> Option<&Shared> {
        self.origins.get(record.origin as usize)
    }

    /// Whether a span may have given each of the hashes, of each list at least one.
    pub(super) fn may_hold(&self, wanted: &[Vec<u64>]) -> bool {
        wanted.iter().all(|any| any.iter().any(|token| self.filters.may_hold(*token)))
    }

    /// The spans in the order in which they came. If their origins alternate so much, and are so large, that saying them
    /// again and again would be most of an answer, those of one origin come one after another.
    pub(super) fn decode(&self, id: TraceId) -> Trace {
        let mut records = Vec::with_capacity(self.spans as usize);
        records.extend(self.records());
        if self.repeated_bytes() > REPEATED * self.records.len() {
            records.sort_by_key(|record| record.origin);
        }
        Trace { spans: records.iter().filter_map(|record| self.span(id, record)).collect() }
    }

    /// What the origins take that were said before, if each is said where it is not that of the span before.
    fn repeated_bytes(&self) -> usize {
        let mut said = vec![false; self.origins.len()];
        let (mut last, mut repeated) = (None, 0);
        for record in self.records() {
            let Some(origin) = self.origin(&record).filter(|_| last != Some(record.origin)) else { continue };
            last = Some(record.origin);
            if std::mem::replace(&mut said[record.origin as usize], true) {
                repeated += origin.bytes;
            }
        }
        repeated
    }

    /// The span of a record: it decodes, as it was checked when it came.
    pub(super) fn span(&self, id: TraceId, record: &Record<'_>) -> Option<Span> {
        let origin = self.origin(record)?;
        let mut proto = ProtoSpan::decode(record.body).ok()?;
        proto.start_time_unix_nano = record.start_ns;
        proto.end_time_unix_nano = record.end_ns;
        let parent = (record.parent != 0).then_some(SpanId(record.parent));
        Some(otlp::span(proto, (id, SpanId(record.span_id), parent), &origin.resource, &origin.scope))
    }
}

/// The next record, and what follows it.
fn split(records: &[u8]) -> Option<(Record<'_>, &[u8])> {
    let (origin, rest) = records.split_first_chunk()?;
    let (length, mut rest) = rest.split_first_chunk()?;
    let mut number = || {
        let (number, after) = rest.split_first_chunk()?;
        rest = after;
        Some(u64::from_le_bytes(*number))
    };
    let (span_id, parent, start_ns, end_ns) = (number()?, number()?, number()?, number()?);
    let (body, after) = rest.split_at_checked(u32::from_le_bytes(*length) as usize)?;
    Some((Record { origin: u32::from_le_bytes(*origin), span_id, parent, start_ns, end_ns, body }, after))
}
