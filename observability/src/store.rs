//! The traces, bounded by bytes: when they do not fit, whole traces leave, the first-seen first.
//!
//! A trace is the protobuf of its spans, one after another in one buffer, so that its bytes are known exactly,
//! it is freed at once, and only what is asked for is ever decoded. Spans that arrive late join their trace while
//! it is here; when it has left they are counted, for a trace that comes back in part would look broken.

mod batch;
mod entry;
mod origins;
mod recent_ids;

use std::collections::hash_map::Entry as Slot;
use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::span::{Trace, TraceId};

pub(crate) use batch::Batch;
pub(crate) use recent_ids::RecentIds;

use entry::Entry;
use origins::Origins;

/// What a trace takes beside its spans: its places in the map and in the queue, and the head of its buffer.
const TRACE_OVERHEAD: usize = 256;

/// A trace that takes a larger part of the store than this would push out everything else.
const LARGEST_TRACE_SHARE: usize = 4;

/// Beyond this share, resources and scopes that no kept trace needs are let go of.
const LARGEST_ORIGINS_SHARE: usize = 16;

/// Traces that left are remembered by 9 to 18 bytes each, which for this share comes to at most 7 % of the bound.
const BYTES_FOR_ONE_FORGOTTEN: usize = 512;
const REMEMBERED_AT_LEAST: usize = 1 << 17;

/// What the store knows of a trace.
#[derive(Debug)]
pub(crate) enum Found {
    Kept(Trace),
    Evicted,
    Nothing,
}

/// Figures of the store. Those that count events only grow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Stats {
    /// Bytes in use.
    pub(crate) bytes: usize,
    /// Traces here.
    pub(crate) traces: usize,
    /// Spans here.
    pub(crate) spans: u64,
    /// Traces that left to make room.
    pub(crate) evicted_traces: u64,
    /// Their spans.
    pub(crate) evicted_spans: u64,
    /// Spans that came after their trace had left.
    pub(crate) late_spans: u64,
    /// Spans that came once more.
    pub(crate) repeated_spans: u64,
}

/// The store. Its one lock is held for a copy of a batch's bytes, and never while anything is decoded.
#[derive(Debug)]
pub(crate) struct Store {
    max_bytes: usize,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    traces: HashMap<TraceId, Entry>,
    /// First seen first. May name traces that are gone.
    order: VecDeque<TraceId>,
    origins: Origins,
    evicted: RecentIds,
    /// All but the bytes of the origins.
    stats: Stats,
}

impl Store {
    pub(crate) fn new(max_bytes: usize) -> Self {
        let remembered = (max_bytes / BYTES_FOR_ONE_FORGOTTEN).max(REMEMBERED_AT_LEAST);
        let inner = Inner {
            traces: HashMap::new(),
            order: VecDeque::new(),
            origins: Origins::default(),
            evicted: RecentIds::new(remembered),
            stats: Stats::default(),
        };
        Self { max_bytes, inner: Mutex::new(inner) }
    }

    /// Takes the batch's spans in, and lets traces go until the rest fits. Returns the positions of those that were here
    /// already.
    pub(crate) fn insert(&self, batch: &Batch) -> Vec<usize> {
        let mut repeated = Vec::new();
        let mut inner = self.lock();
        let largest = self.max_bytes / LARGEST_TRACE_SHARE;
        for group in &batch.groups {
            let origin = inner.origins.intern(group);
            for position in group.spans.clone() {
                let span = &batch.spans[position];
                if !inner.insert(span.trace_id, &origin, &batch.bytes[span.bytes.clone()], largest) {
                    repeated.push(position);
                }
            }
        }
        inner.make_room(self.max_bytes);
        repeated
    }

    pub(crate) fn get(&self, id: TraceId) -> Found {
        let inner = self.lock();
        let Some(entry) = inner.traces.get(&id) else {
            return if inner.evicted.contains(id) { Found::Evicted } else { Found::Nothing };
        };
        let entry = entry.clone();
        drop(inner);
        Found::Kept(entry.decode(id))
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
    /// Whether the span is new.
    fn insert(&mut self, id: TraceId, origin: &origins::Shared, span: &[u8], largest: usize) -> bool {
        let entry = match self.traces.entry(id) {
            Slot::Occupied(slot) => slot.into_mut(),
            Slot::Vacant(_) if self.evicted.contains(id) => {
                self.stats.late_spans += 1;
                return true;
            }
            Slot::Vacant(slot) => {
                self.order.push_back(id);
                self.stats.bytes += TRACE_OVERHEAD;
                slot.insert(Entry::default())
            }
        };
        if entry.holds(span) {
            self.stats.repeated_spans += 1;
            return false;
        }
        let before = entry.bytes();
        entry.push(origin, span);
        let bytes = entry.bytes();
        self.stats.bytes += bytes - before;
        self.stats.spans += 1;
        if bytes > largest {
            self.evict(id);
        }
        true
    }

    fn make_room(&mut self, max_bytes: usize) {
        if self.origins.bytes() > max_bytes / LARGEST_ORIGINS_SHARE {
            self.origins.forget_unused();
        }
        while self.bytes() > max_bytes
            && let Some(id) = self.order.pop_front()
        {
            self.evict(id);
        }
    }

    fn evict(&mut self, id: TraceId) {
        let Some(entry) = self.traces.remove(&id) else { return };
        self.stats.bytes -= entry.bytes() + TRACE_OVERHEAD;
        self.stats.spans -= u64::from(entry.spans());
        self.stats.evicted_spans += u64::from(entry.spans());
        self.stats.evicted_traces += 1;
        self.evicted.insert(id);
    }

    fn bytes(&self) -> usize {
        self.stats.bytes + self.origins.bytes()
    }
}

#[cfg(test)]
mod tests;
