//! The stored form of one trace: its spans in one buffer.

use std::sync::Arc;

use super::bloom_filters::BloomFilters;
use super::resource_scopes::ResourceScope;
use super::retention::KeepReasons;
use super::validate::SpanHeader;
use crate::otlp;
use crate::trace::{self, Attribute, Span, SpanId, Trace, TraceId, duration_ns};

/// Size of a record's header, little-endian: index of the resource and scope and length of the body (4 bytes each),
/// span id, parent id (0 for none), start and end (8 bytes each).
const HEADER: usize = 40;

/// Maximum number of spans of a trace that is searched for duplicates: the search takes time in proportion to the
/// number.
const MAX_DEDUPLICATED_SPANS: u32 = 1000;

/// Maximum number of spans with equal ids and times whose bodies are compared. Valid traces have one.
const MAX_COMPARED_SPANS: usize = 4;

/// Maximum length of a body that is decoded for the comparison, which runs under the store's lock.
const MAX_DECODED_BODY: usize = 64 << 10;

/// Maximum size of repeated resources and scopes in an answer, as a multiple of the spans' size. An answer repeats
/// the resource wherever it changes from one span to the next.
const MAX_REPEATED_FACTOR: usize = 4;

/// Decoded size of a part of a span, beside its texts.
const PART_BYTES: usize = size_of::<Attribute>();

/// Maximum size of the decoded trace, and of its resources and scopes, as multiples of the maximum size of a trace.
const MAX_DECODED_FACTOR: usize = 4;
const MAX_RESOURCE_SCOPES_FACTOR: usize = 2;

/// Average rounding by the allocator, as a divisor: it has 4 or 8 size classes per octave.
const ALLOCATION_ROUNDING: usize = 8;

/// Minimum growth of the buffer in bytes. The buffer grows by a quarter, so that most spans do not cause a reallocation.
const MIN_GROWTH: usize = 512;

#[derive(Debug, Clone)]
pub(super) struct Entry {
    /// Position in the order of arrival.
    pub(super) sequence: u64,
    pub(super) reasons: KeepReasons,
    /// Duration of the longest span in nanoseconds.
    pub(super) longest_ns: u64,
    records: Vec<u8>,
    resource_scopes: Vec<Arc<ResourceScope>>,
    filters: BloomFilters,
    spans: u32,
    /// Number of attributes, events, links and list items.
    parts: usize,
    /// Size of its resources and scopes, of which it may be the only user.
    resource_scopes_bytes: usize,
}

/// One span in the buffer.
#[derive(Debug, Clone, Copy)]
pub(super) struct Record<'e> {
    pub(super) resource_scope: u32,
    pub(super) span_id: u64,
    pub(super) parent: u64,
    pub(super) start_ns: u64,
    pub(super) end_ns: u64,
    pub(super) body: &'e [u8],
}

impl Entry {
    pub(super) fn new(sequence: u64, reasons: KeepReasons) -> Self {
        Self {
            sequence,
            reasons,
            longest_ns: 0,
            records: Vec::new(),
            resource_scopes: Vec::new(),
            filters: BloomFilters::default(),
            spans: 0,
            parts: 0,
            resource_scopes_bytes: 0,
        }
    }

    pub(super) fn push(
        &mut self,
        resource_scope: &Arc<ResourceScope>,
        header: &SpanHeader<'_>,
        body: &[u8],
        terms: &[u64],
    ) {
        let known = self.resource_scopes.iter().position(|other| Arc::ptr_eq(other, resource_scope));
        let index = known.unwrap_or_else(|| {
            let ResourceScope { resource, terms, size, .. } = &**resource_scope;
            let is_known = self.resource_scopes.iter().any(|other| Arc::ptr_eq(&other.resource, resource));
            let new_resource = Some(resource).filter(|_| !is_known);
            self.resource_scopes.push(Arc::clone(resource_scope));
            self.resource_scopes_bytes += size.stored();
            self.resource_scopes_bytes += new_resource.map_or(0, |resource| resource.size.stored());
            for term in terms.iter().chain(new_resource.iter().flat_map(|resource| &resource.terms)) {
                self.filters.add(*term);
            }
            self.resource_scopes.len() - 1
        });
        let needed = HEADER + body.len();
        if self.records.capacity() - self.records.len() < needed {
            self.records.reserve_exact(needed.max(MIN_GROWTH).max(self.records.len() / 4));
        }
        // Both fit in 32 bits: messages are at most 16 MiB long.
        self.records.extend_from_slice(&(index as u32).to_le_bytes());
        self.records.extend_from_slice(&(body.len() as u32).to_le_bytes());
        let parent = header.parent.map_or(0, |SpanId(id)| id);
        for number in [header.span_id.0, parent, header.start_ns, header.end_ns] {
            self.records.extend_from_slice(&number.to_le_bytes());
        }
        self.records.extend_from_slice(body);
        for term in terms {
            self.filters.add(*term);
        }
        self.longest_ns = self.longest_ns.max(duration_ns(header.start_ns, header.end_ns));
        self.spans += 1;
        self.parts += header.parts;
    }

    /// Returns whether the same span is stored already: an exporter repeats a batch when it misses the reply, and an exported
    /// file may be imported where its spans came from.
    pub(super) fn contains(&self, header: &SpanHeader<'_>, body: &[u8]) -> bool {
        let parent = header.parent.map_or(0, |SpanId(id)| id);
        let has_its_head = |record: &Record<'_>| {
            (record.span_id, record.parent, record.start_ns, record.end_ns)
                == (header.span_id.0, parent, header.start_ns, header.end_ns)
        };
        let mut alike = self.records().filter(has_its_head).take(MAX_COMPARED_SPANS);
        self.spans <= MAX_DEDUPLICATED_SPANS && alike.any(|record| is_same_body(record.body, body))
    }

    /// Returns the time from the first start to the last end in nanoseconds, as [`trace::extent_ns`] does.
    pub(super) fn duration_ns(&self) -> u64 {
        let (start_ns, end_ns) =
            trace::extent_ns(self.records().map(|record| (record.start_ns, record.end_ns)));
        end_ns - start_ns
    }

    pub(super) fn spans(&self) -> u32 {
        self.spans
    }

    /// Returns whether the trace exceeds the limits of a single trace: encoded, decoded, or in its resources and
    /// scopes.
    pub(super) fn is_larger_than(&self, largest: usize) -> bool {
        let decoded = self.spans as usize * size_of::<Span>() + self.parts * PART_BYTES + self.records.len();
        self.bytes() > largest
            || self.resource_scopes_bytes > largest.saturating_mul(MAX_RESOURCE_SCOPES_FACTOR)
            || decoded > largest.saturating_mul(MAX_DECODED_FACTOR)
    }

    /// Returns the size of its resources and scopes.
    pub(super) fn resource_scopes_bytes(&self) -> usize {
        self.resource_scopes_bytes
    }

    pub(super) fn bytes(&self) -> usize {
        let records = self.records.capacity();
        records
            + records / ALLOCATION_ROUNDING
            + self.resource_scopes.capacity() * size_of::<Arc<ResourceScope>>()
            + self.filters.bytes()
    }

    pub(super) fn records(&self) -> impl Iterator<Item = Record<'_>> {
        let mut rest = self.records.as_slice();
        std::iter::from_fn(move || {
            let (record, after) = split(rest)?;
            rest = after;
            Some(record)
        })
    }

    /// Returns the resource and scope of a record.
    pub(super) fn resource_scope(&self, record: &Record<'_>) -> Option<&Arc<ResourceScope>> {
        self.resource_scopes.get(record.resource_scope as usize)
    }

    /// Returns whether the trace may contain at least one term of each list.
    pub(super) fn may_contain(&self, wanted: &[Vec<u64>]) -> bool {
        wanted.iter().all(|any| any.iter().any(|term| self.filters.may_contain(*term)))
    }

    /// Decodes all spans in the order of arrival. If repeating large resources would dominate an answer, the spans
    /// are ordered by resource instead.
    pub(super) fn decode(&self, id: TraceId) -> Trace {
        let mut records = Vec::with_capacity(self.spans as usize);
        records.extend(self.records());
        if self.repeated_bytes() > MAX_REPEATED_FACTOR * self.records.len() {
            records.sort_by_key(|record| record.resource_scope);
        }
        Trace { spans: records.iter().filter_map(|record| self.span(id, record)).collect() }
    }

    /// Returns the size of the resources and scopes that an answer in the order of arrival would repeat.
    fn repeated_bytes(&self) -> usize {
        let mut written = vec![false; self.resource_scopes.len()];
        let (mut last, mut repeated) = (None, 0);
        for record in self.records() {
            let Some(resource_scope) =
                self.resource_scope(&record).filter(|_| last != Some(record.resource_scope))
            else {
                continue;
            };
            last = Some(record.resource_scope);
            if std::mem::replace(&mut written[record.resource_scope as usize], true) {
                repeated += resource_scope.resource.size.encoded + resource_scope.size.encoded;
            }
        }
        repeated
    }

    /// Decodes the span of a record. It was validated on arrival, so decoding does not fail.
    pub(super) fn span(&self, id: TraceId, record: &Record<'_>) -> Option<Span> {
        let resource_scope = self.resource_scope(record)?;
        let body = otlp::span(record.body, &resource_scope.resource.resource, &resource_scope.scope).ok()?;
        Some(Span {
            trace_id: id,
            span_id: SpanId(record.span_id),
            parent: (record.parent != 0).then_some(SpanId(record.parent)),
            start_ns: record.start_ns,
            end_ns: record.end_ns,
            ..body
        })
    }
}

/// Returns whether two bodies have the same content. One content has several encodings: a field with its default value can be
/// absent or present.
fn is_same_body(a: &[u8], b: &[u8]) -> bool {
    let is_short = a.len().max(b.len()) <= MAX_DECODED_BODY;
    a == b
        || (is_short
            && otlp::canonical_span(a).is_some_and(|canonical| otlp::canonical_span(b) == Some(canonical)))
}

/// Splits the first record off.
fn split(records: &[u8]) -> Option<(Record<'_>, &[u8])> {
    let (resource_scope, rest) = records.split_first_chunk()?;
    let (length, mut rest) = rest.split_first_chunk()?;
    let mut number = || {
        let (number, after) = rest.split_first_chunk()?;
        rest = after;
        Some(u64::from_le_bytes(*number))
    };
    let (span_id, parent, start_ns, end_ns) = (number()?, number()?, number()?, number()?);
    let (body, after) = rest.split_at_checked(u32::from_le_bytes(*length) as usize)?;
    Some((
        Record {
            resource_scope: u32::from_le_bytes(*resource_scope),
            span_id,
            parent,
            start_ns,
            end_ns,
            body,
        },
        after,
    ))
}
