//! The trace store, bounded by bytes: when it is full, whole traces are evicted, as `store/retention.rs` decides.
//!
//! The spans of a trace lie one after another in one buffer, in encoded form: the size is known exactly, eviction
//! frees it at once, and only what a query reads is decoded. Late spans join their trace while it is stored. After
//! its eviction they are only counted, since a partial trace would look broken.

mod recent_ids;
mod search_terms;
mod encoded;
pub(crate) mod validate;
mod span_batch;
mod resource_scopes;
mod operations;
mod retention;
mod bloom_filters;
mod entry;
mod completeness;
mod eviction;
mod stats;
mod snapshot;
mod query;
mod search;
mod result_page;

use std::collections::hash_map::Entry as MapEntry;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use foldhash::fast::RandomState;

use crate::trace::{Kind, Trace, TraceId};

pub(crate) use completeness::{Gap, TraceFacts};
pub(crate) use encoded::Encoded;
pub(crate) use eviction::Eviction;
pub(crate) use query::Query;
pub(crate) use recent_ids::{RecentIds, RecentIdsSnapshot};
pub(crate) use result_page::{ParsePositionError, Position, ResultPage, SortOrder};
pub(crate) use retention::{EvictionReason, ExemplarChange, RetentionClass};
pub(crate) use search_terms::SearchTerms;
pub(crate) use snapshot::StoreSnapshot;
pub(crate) use span_batch::SpanBatch;
pub(crate) use stats::{RetentionSummary, Stats};

use entry::Entry;
use operations::Operations;
use resource_scopes::{ResourceScope, ResourceScopes};
use retention::{EvictionStep, Retention};
use span_batch::PendingSpan;

/// Bytes of a trace beside its spans: its entries in the map, in the order of arrival and in its class.
const TRACE_OVERHEAD: usize = 384;

/// Maximum size of one trace, as a divisor of the store's size. A larger one would displace all others, and takes
/// several times as much memory when decoded.
const MAX_TRACE_DIVISOR: usize = 16;

/// Size above which unused resources and scopes are removed, as a divisor of the store's size.
const RESOURCE_SCOPES_DIVISOR: usize = 16;

/// Maximum size of the operation names, as a divisor of the store's size.
const OPERATIONS_DIVISOR: usize = 64;

/// Size of the store for each remembered id of an evicted trace. An id takes up to 10.6 bytes, 5.3 in each of two tables, so
/// that all ids take 1/14 of the store's size.
const BYTES_PER_REMEMBERED_ID: usize = 149;
const MIN_REMEMBERED_IDS: usize = 1 << 16;

/// The result of looking up a trace.
#[derive(Debug)]
pub(crate) enum Lookup {
    Stored(Trace),
    Evicted(Eviction),
    Unknown,
}

/// The spans and traces of a batch that were not stored: positions of spans, and ids of traces.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Inserted {
    /// Spans that were stored already.
    pub(crate) duplicate: Vec<usize>,
    /// Spans of traces that had been evicted.
    pub(crate) late: Vec<usize>,
    /// Traces that became too large and were evicted.
    pub(crate) evicted: Vec<TraceId>,
}

enum Insertion {
    New,
    Duplicate,
    Late,
    TooLarge,
}

/// The store. Its lock is held while a batch's bytes are copied, never while spans are decoded.
#[derive(Debug)]
pub(crate) struct Store {
    /// Maximum size of a trace in bytes; a larger one is evicted.
    largest_trace: usize,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    /// Boxed: a map grows to twice its size after many insertions and removals.
    traces: HashMap<TraceId, Box<Entry>, RandomState>,
    /// In the order of arrival.
    by_arrival: BTreeMap<u64, TraceId>,
    last_sequence: u64,
    resource_scopes: ResourceScopes,
    operations: Operations,
    retention: Retention,
    /// Each with its [`Eviction`].
    evicted: RecentIds,
    /// Reused for each evicted trace.
    facts: TraceFacts,
    /// `bytes` excludes the resources, scopes and operations.
    stats: Stats,
}

impl Store {
    /// Returns an empty store for about `max_bytes` of traces.
    pub(crate) fn new(max_bytes: usize) -> Self {
        let remembered = (max_bytes / BYTES_PER_REMEMBERED_ID).max(MIN_REMEMBERED_IDS);
        let inner = Inner {
            traces: HashMap::default(),
            by_arrival: BTreeMap::new(),
            last_sequence: 0,
            resource_scopes: ResourceScopes::default(),
            operations: Operations::new(max_bytes / OPERATIONS_DIVISOR),
            retention: Retention::new(u64::MAX),
            evicted: RecentIds::new(remembered),
            facts: TraceFacts::default(),
            stats: Stats::default(),
        };
        Self { largest_trace: max_bytes / MAX_TRACE_DIVISOR, inner: Mutex::new(inner) }
    }

    /// Inserts the spans of a batch. The caller calls [`Self::evict_to_fit`] next.
    pub(crate) fn insert(&self, batch: &SpanBatch<'_>) -> Inserted {
        let mut inserted = Inserted::default();
        let mut inner = self.lock();
        let resource_scopes = inner.resource_scopes.intern(batch);
        for (group, resource_scope) in batch.non_empty_groups().zip(&resource_scopes) {
            for position in group.spans.clone() {
                let span = &batch.spans[position];
                inner.operations.record(group.service, span.header.name, span.header.kind);
                let (body, terms) = (&batch.bodies[span.body.clone()], &batch.terms.0[span.terms.clone()]);
                match inner.insert(resource_scope, span, body, terms, self.largest_trace) {
                    Insertion::New => {}
                    Insertion::Duplicate => inserted.duplicate.push(position),
                    Insertion::Late => inserted.late.push(position),
                    Insertion::TooLarge => inserted.evicted.push(span.header.trace_id),
                }
            }
        }
        inserted
    }

    /// Applies changes of exemplars and evicts traces until the rest fits. Returns whether the number of
    /// exemplars must be reduced: they exceed their share, and the store is full.
    pub(crate) fn evict_to_fit(&self, changes: &[ExemplarChange], max_bytes: usize) -> bool {
        let mut inner = self.lock();
        for change in changes {
            inner.mark(change.trace_id, |reasons| reasons.count(*change));
        }
        inner.evict_to_fit(max_bytes)
    }

    /// Returns the size of a trace; 0 if it is not stored.
    pub(crate) fn bytes_of(&self, id: TraceId) -> usize {
        self.lock().traces.get(&id).map_or(0, |entry| entry.bytes() + TRACE_OVERHEAD)
    }

    /// Returns whether the exemplars take less than half of their share.
    pub(crate) fn has_space_for_exemplars(&self, max_bytes: usize) -> bool {
        self.lock().retention.bytes(RetentionClass::Exemplar) < max_bytes / 8
    }

    /// Evicts the oldest traces of all classes until the rest fits. Returns their ids.
    pub(crate) fn evict_oldest_to_fit(&self, max_bytes: usize) -> Vec<TraceId> {
        let mut inner = self.lock();
        let mut evicted = Vec::new();
        while inner.bytes() > max_bytes
            && let Some((_, id)) = inner.by_arrival.first_key_value()
        {
            let id = *id;
            inner.evict(id, None);
            evicted.push(id);
        }
        evicted
    }

    pub(crate) fn get(&self, id: TraceId) -> Lookup {
        let inner = self.lock();
        let Some(entry) = inner.traces.get(&id) else {
            return inner
                .evicted
                .get(id)
                .and_then(Eviction::from_note)
                .map_or(Lookup::Unknown, Lookup::Evicted);
        };
        let entry = entry.clone();
        drop(inner);
        Lookup::Stored(entry.decode(id))
    }

    /// Returns the services of the stored traces and of recently evicted ones.
    pub(crate) fn services(&self) -> BTreeSet<String> {
        let inner = self.lock();
        inner.resource_scopes.services().chain(inner.operations.services()).map(str::to_owned).collect()
    }

    /// Returns the operations of a service in the stored traces and in recently evicted ones.
    pub(crate) fn operations(&self, service: &str) -> BTreeSet<(String, Kind)> {
        self.lock().operations.of(service)
    }

    /// Returns the id of the trace that arrived last.
    pub(crate) fn latest(&self) -> Option<TraceId> {
        self.lock().by_arrival.last_key_value().map(|(_, id)| *id)
    }

    /// Returns the ids of all stored traces, in the order of arrival.
    pub(crate) fn ids(&self) -> Vec<TraceId> {
        self.lock().by_arrival.values().copied().collect()
    }

    /// Returns the number of stored traces by retention class.
    pub(crate) fn retention(&self) -> RetentionSummary {
        let inner = self.lock();
        let mut traces = [0; 4];
        let mut sample = Vec::new();
        for (id, entry) in &inner.traces {
            traces[entry.reasons.class() as usize] += 1;
            if entry.reasons.sampled {
                sample.push(*id);
            }
        }
        sample.sort_unstable();
        let classes =
            RetentionClass::ALL.map(|class| (class, traces[class as usize], inner.retention.bytes(class)));
        RetentionSummary { classes, sampled_share: inner.retention.sampled_share(), sample }
    }

    pub(crate) fn stats(&self) -> Stats {
        let inner = self.lock();
        Stats { bytes: inner.bytes(), traces: inner.traces.len(), ..inner.stats }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn insert(
        &mut self,
        resource_scope: &Arc<ResourceScope>,
        span: &PendingSpan<'_>,
        body: &[u8],
        terms: &[u64],
        largest: usize,
    ) -> Insertion {
        let id = span.header.trace_id;
        let entry = match self.traces.entry(id) {
            MapEntry::Occupied(slot) => slot.into_mut(),
            MapEntry::Vacant(_) if self.evicted.get(id).is_some() => {
                self.stats.late_spans += 1;
                return Insertion::Late;
            }
            MapEntry::Vacant(slot) => {
                self.last_sequence += 1;
                self.by_arrival.insert(self.last_sequence, id);
                self.stats.bytes += TRACE_OVERHEAD;
                let reasons = self.retention.add(id, self.last_sequence, TRACE_OVERHEAD);
                slot.insert(Box::new(Entry::new(self.last_sequence, reasons)))
            }
        };
        if entry.contains(&span.header, body) {
            self.stats.duplicate_spans += 1;
            return Insertion::Duplicate;
        }
        let before = entry.bytes();
        entry.push(resource_scope, &span.header, body, terms);
        let bytes = entry.bytes();
        self.stats.bytes += bytes - before;
        self.stats.spans += 1;
        self.retention.add_bytes(entry.reasons, bytes - before);
        if span.header.error && !entry.reasons.error {
            let operation = search_terms::term(&resource_scope.resource.service, span.header.name);
            self.retention.add_error(
                (id, entry.sequence, bytes + TRACE_OVERHEAD),
                &mut entry.reasons,
                operation,
            );
        }
        if entry.is_larger_than(largest) {
            self.evict(id, Some(EvictionReason::TooLarge));
            return Insertion::TooLarge;
        }
        Insertion::New
    }

    fn mark(&mut self, id: TraceId, change: impl FnOnce(&mut retention::KeepReasons)) {
        if let Some(entry) = self.traces.get_mut(&id) {
            let bytes = entry.bytes() + TRACE_OVERHEAD;
            self.retention.update((id, entry.sequence, bytes), &mut entry.reasons, change);
        }
    }

    fn evict_to_fit(&mut self, max_bytes: usize) -> bool {
        self.retention.remove_stale(self.traces.len(), |id| self.traces.contains_key(id));
        while self.bytes() > max_bytes {
            self.resource_scopes.sweep_above(max_bytes / RESOURCE_SCOPES_DIVISOR);
            match self.retention.next_step(max_bytes) {
                Some(EvictionStep::Evict(id)) => self.evict(id, None),
                Some(EvictionStep::ClearError(id)) => self.mark(id, |reasons| reasons.error = false),
                Some(EvictionStep::ClearSampled(id)) => self.mark(id, |reasons| reasons.sampled = false),
                None if self.traces.is_empty() => {
                    self.resource_scopes.remove_unused();
                    return false;
                }
                None => return true,
            }
        }
        false
    }

    fn evict(&mut self, id: TraceId, reason: Option<EvictionReason>) {
        let Some(entry) = self.traces.remove(&id) else { return };
        let (bytes, reason) =
            (entry.bytes() + TRACE_OVERHEAD, reason.unwrap_or(entry.reasons.eviction_reason()));
        self.by_arrival.remove(&entry.sequence);
        self.resource_scopes.trace_evicted(entry.resource_scopes_bytes());
        self.retention.remove((id, entry.sequence, bytes), entry.reasons);
        self.stats.bytes -= bytes;
        self.stats.spans -= u64::from(entry.spans());
        self.stats.evicted_spans += u64::from(entry.spans());
        self.stats.evicted_traces[reason as usize] += 1;
        let was_complete = self.facts.is_complete(id, &entry);
        self.stats.evicted_incomplete += u64::from(!was_complete);
        self.evicted.insert(id, Eviction { reason, was_complete: Some(was_complete) }.note());
    }

    fn bytes(&self) -> usize {
        self.stats.bytes + self.resource_scopes.bytes() + self.operations.bytes()
    }
}

#[cfg(test)]
mod tests;
