//! The traces, bounded by bytes: when they do not fit, whole traces leave, as `store/retention.rs` decides.
//!
//! A trace is its spans as they came, one after another in one buffer, so that its bytes are known exactly, it is freed
//! at once, and only what is asked for is ever decoded. Spans that arrive late join their trace while it is here; when
//! it has left they are counted, for a trace that comes back in part would look broken.

mod batch;
mod entry;
mod operations;
mod origins;
mod query;
mod recent_ids;
mod retention;
mod search;
mod tokens;
pub(crate) mod validate;

use std::collections::hash_map::Entry as Slot;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};

use foldhash::fast::RandomState;

use crate::trace::{Kind, Trace, TraceId};

pub(crate) use batch::{Batch, Described};
pub(crate) use query::Query;
pub(crate) use recent_ids::{RecentIds, State as RecentIdsState};
pub(crate) use retention::{Change, Class, Reason};
pub(crate) use tokens::Tokens;

use batch::Pending;
use entry::Entry;
use operations::Operations;
use origins::Origins;
use retention::{Retention, Step};

/// What a trace takes beside its spans: its places in the map, in the order of arrival and in its class.
const TRACE_OVERHEAD: usize = 384;

/// A trace that takes a larger part of the store than this would push out everything else, and takes several times as
/// much when it is decoded to be shown.
const LARGEST_TRACE_SHARE: usize = 16;

/// Beyond this share, resources and scopes that no kept trace needs are let go of.
const LARGEST_ORIGINS_SHARE: usize = 16;

/// Names of operations take this share at most.
const OPERATIONS_SHARE: usize = 64;

/// Twice 5.3 bytes are kept for each trace that left and is sure to be remembered: for this share, a fourteenth of the
/// bound in all.
const BYTES_FOR_ONE_REMEMBERED: usize = 149;
const REMEMBERED_AT_LEAST: usize = 1 << 16;

/// What the store knows of a trace.
#[derive(Debug)]
pub(crate) enum Found {
    Kept(Trace),
    Evicted(Reason),
    Nothing,
}

/// What is kept for what.
#[derive(Debug)]
pub(crate) struct Kept {
    /// Traces and bytes of each.
    pub(crate) classes: [(Class, usize, usize); 4],
    /// The share of all traces that ever came which is in the uniform sample.
    pub(crate) sampled_share: f64,
    /// The uniform sample: also of those that are kept for something else.
    pub(crate) sample: Vec<TraceId>,
}

/// What has left a store.
#[derive(Debug, serde::Serialize, serde::Deserialize)]
pub(crate) struct Past {
    sampled_below: u64,
    /// Also of traces that are kept.
    #[serde(default)]
    operations: Vec<(String, String, Kind)>,
    evicted: recent_ids::State,
    stats: Stats,
}

/// Figures of the store. Those that count events only grow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
pub(crate) struct Stats {
    /// Bytes in use.
    pub(crate) bytes: usize,
    /// Traces here.
    pub(crate) traces: usize,
    /// Spans here.
    pub(crate) spans: u64,
    /// Traces that left to make room, by [`Reason`].
    pub(crate) evicted_traces: [u64; Reason::ALL.len()],
    /// Their spans.
    pub(crate) evicted_spans: u64,
    /// Spans that came after their trace had left.
    pub(crate) late_spans: u64,
    /// Spans that came once more.
    pub(crate) repeated_spans: u64,
}

/// What of a batch is not kept, or not once more: positions of spans, and whole traces.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Inserted {
    /// Spans that were here already.
    pub(crate) repeated: Vec<usize>,
    /// Spans of traces that had left.
    pub(crate) gone: Vec<usize>,
    /// Traces that became too large, and left.
    pub(crate) left: Vec<TraceId>,
}

enum Fate {
    Kept,
    Repeated,
    Gone,
    TooLarge,
}

/// The store. Its one lock is held for a copy of a batch's bytes, and never while anything is decoded.
#[derive(Debug)]
pub(crate) struct Store {
    /// A trace that takes more leaves at once.
    largest_trace: usize,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    /// Each apart from the map, which makes itself twice as large when it has had many come and go.
    traces: HashMap<TraceId, Box<Entry>, RandomState>,
    /// In the order in which they were first seen.
    line: BTreeMap<u64, TraceId>,
    last_seen: u64,
    origins: Origins,
    operations: Operations,
    retention: Retention,
    evicted: RecentIds,
    /// All but the bytes of the origins.
    stats: Stats,
}

impl Store {
    /// For traces that come to take about `max_bytes`.
    pub(crate) fn new(max_bytes: usize) -> Self {
        let remembered = (max_bytes / BYTES_FOR_ONE_REMEMBERED).max(REMEMBERED_AT_LEAST);
        let inner = Inner {
            traces: HashMap::default(),
            line: BTreeMap::new(),
            last_seen: 0,
            origins: Origins::default(),
            operations: Operations::new(max_bytes / OPERATIONS_SHARE),
            retention: Retention::new(u64::MAX),
            evicted: RecentIds::new(remembered),
            stats: Stats::default(),
        };
        Self { largest_trace: max_bytes / LARGEST_TRACE_SHARE, inner: Mutex::new(inner) }
    }

    /// Takes the batch's spans in. [`Self::make_room`] has to follow.
    pub(crate) fn insert(&self, batch: &Batch<'_>) -> Inserted {
        let mut inserted = Inserted::default();
        let mut inner = self.lock();
        for group in batch.filled() {
            let origin = inner.origins.intern(group);
            for position in group.spans.clone() {
                let span = &batch.spans[position];
                inner.operations.see(group.service, span.head.name, span.head.kind);
                let (body, tokens) = (&batch.bodies[span.body.clone()], &batch.tokens.0[span.tokens.clone()]);
                match inner.insert(&origin, span, body, tokens, self.largest_trace) {
                    Fate::Kept => {}
                    Fate::Repeated => inserted.repeated.push(position),
                    Fate::Gone => inserted.gone.push(position),
                    Fate::TooLarge => inserted.left.push(span.head.trace_id),
                }
            }
        }
        inserted
    }

    /// Takes note of what became telling, or is no longer, and lets traces go until the rest fits. Returns whether
    /// fewer should be telling: they take more than their share, and the store is full.
    pub(crate) fn make_room(&self, changes: &[Change], max_bytes: usize) -> bool {
        let mut inner = self.lock();
        for change in changes {
            inner.mark(change.trace_id, |marks| marks.count(*change));
        }
        inner.make_room(max_bytes)
    }

    /// What a trace takes; nothing if it is not here.
    pub(crate) fn bytes_of(&self, id: TraceId) -> usize {
        self.lock().traces.get(&id).map_or(0, |entry| entry.bytes() + TRACE_OVERHEAD)
    }

    /// Whether the telling traces take less than half of their share.
    pub(crate) fn has_room_for_telling(&self, max_bytes: usize) -> bool {
        self.lock().retention.bytes(Class::Telling) < max_bytes / 8
    }

    /// Lets the first-seen go, whatever they are kept for, until the rest fits. Returns which.
    pub(crate) fn force_room(&self, max_bytes: usize) -> Vec<TraceId> {
        let mut inner = self.lock();
        let mut left = Vec::new();
        while inner.bytes() > max_bytes
            && let Some((_, id)) = inner.line.first_key_value()
        {
            let id = *id;
            inner.evict(id, None);
            left.push(id);
        }
        left
    }

    pub(crate) fn get(&self, id: TraceId) -> Found {
        let inner = self.lock();
        let Some(entry) = inner.traces.get(&id) else {
            let reason = inner.evicted.get(id).and_then(|note| Reason::ALL.get(usize::from(note)));
            return reason.map_or(Found::Nothing, |reason| Found::Evicted(*reason));
        };
        let entry = entry.clone();
        drop(inner);
        Found::Kept(entry.decode(id))
    }

    /// The services of the kept traces, and of some that left.
    pub(crate) fn services(&self) -> BTreeSet<String> {
        let inner = self.lock();
        inner.origins.services().chain(inner.operations.services()).map(str::to_owned).collect()
    }

    /// A service's operations: those of the kept traces, and of some that left.
    pub(crate) fn operations(&self, service: &str) -> BTreeSet<(String, Kind)> {
        self.lock().operations.of(service)
    }

    /// The ids of everything kept, the first seen first.
    pub(crate) fn ids(&self) -> Vec<TraceId> {
        self.lock().line.values().copied().collect()
    }

    /// What is kept for what.
    pub(crate) fn kept(&self) -> Kept {
        let inner = self.lock();
        let mut traces = [0; 4];
        let mut sample = Vec::new();
        for (id, entry) in &inner.traces {
            traces[entry.marks.class() as usize] += 1;
            if entry.marks.sampled {
                sample.push(*id);
            }
        }
        sample.sort_unstable();
        let classes = Class::ALL.map(|class| (class, traces[class as usize], inner.retention.bytes(class)));
        Kept { classes, sampled_share: inner.retention.sampled_share(), sample }
    }

    /// What it remembers of the traces that left, and its figures.
    pub(crate) fn past(&self) -> Past {
        let inner = self.lock();
        let stats = Stats { bytes: 0, traces: 0, spans: 0, ..inner.stats };
        Past {
            sampled_below: inner.retention.sampled_below(),
            operations: inner.operations.all(),
            evicted: inner.evicted.state(),
            stats,
        }
    }

    /// One without traces that has another store's past: it would sample the same. What left is taken over at the end, by
    /// [`Self::restore`].
    pub(crate) fn after(max_bytes: usize, past: &Past) -> Self {
        // Each trace fitted there; written anew it may take some bytes more.
        let store = Self { largest_trace: usize::MAX, ..Self::new(max_bytes) };
        store.lock().retention = Retention::new(past.sampled_below);
        store
    }

    /// Takes over what left another store. Returns whether that can be read.
    pub(crate) fn restore(&self, Past { evicted, operations, stats, .. }: &Past) -> bool {
        let Some(evicted) = RecentIds::restore(evicted) else { return false };
        let mut inner = self.lock();
        inner.evicted = evicted;
        operations.iter().for_each(|(service, name, kind)| inner.operations.see(service, name, *kind));
        let Stats { bytes, traces, spans, .. } = inner.stats;
        inner.stats = Stats { bytes, traces, spans, ..*stats };
        true
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
        origin: &origins::Shared,
        span: &Pending<'_>,
        body: &[u8],
        tokens: &[u64],
        largest: usize,
    ) -> Fate {
        let id = span.head.trace_id;
        let entry = match self.traces.entry(id) {
            Slot::Occupied(slot) => slot.into_mut(),
            Slot::Vacant(_) if self.evicted.get(id).is_some() => {
                self.stats.late_spans += 1;
                return Fate::Gone;
            }
            Slot::Vacant(slot) => {
                self.last_seen += 1;
                self.line.insert(self.last_seen, id);
                self.stats.bytes += TRACE_OVERHEAD;
                let marks = self.retention.enter(id, self.last_seen, TRACE_OVERHEAD);
                slot.insert(Box::new(Entry::new(self.last_seen, marks)))
            }
        };
        if entry.holds(&span.head, body) {
            self.stats.repeated_spans += 1;
            return Fate::Repeated;
        }
        let before = entry.bytes();
        entry.push(origin, &span.head, body, tokens);
        let bytes = entry.bytes();
        self.stats.bytes += bytes - before;
        self.stats.spans += 1;
        self.retention.grow(entry.marks, bytes - before);
        if span.head.error && !entry.marks.error {
            let operation = tokens::token(&origin.service, span.head.name);
            self.retention.fail((id, entry.seen, bytes + TRACE_OVERHEAD), &mut entry.marks, operation);
        }
        if entry.is_larger_than(largest) {
            self.evict(id, Some(Reason::TooLarge));
            return Fate::TooLarge;
        }
        Fate::Kept
    }

    fn mark(&mut self, id: TraceId, change: impl FnOnce(&mut retention::Marks)) {
        if let Some(entry) = self.traces.get_mut(&id) {
            let bytes = entry.bytes() + TRACE_OVERHEAD;
            self.retention.change((id, entry.seen, bytes), &mut entry.marks, change);
        }
    }

    fn make_room(&mut self, max_bytes: usize) -> bool {
        self.retention.forget_absent(&self.traces);
        while self.bytes() > max_bytes {
            self.origins.bound(max_bytes / LARGEST_ORIGINS_SHARE);
            match self.retention.next(max_bytes) {
                Some(Step::Evict(id)) => self.evict(id, None),
                Some(Step::NoError(id)) => self.mark(id, |marks| marks.error = false),
                Some(Step::NotSampled(id)) => self.mark(id, |marks| marks.sampled = false),
                None if self.traces.is_empty() => {
                    self.origins.forget_unused();
                    return false;
                }
                None => return true,
            }
        }
        false
    }

    fn evict(&mut self, id: TraceId, reason: Option<Reason>) {
        let Some(entry) = self.traces.remove(&id) else { return };
        let (bytes, reason) = (entry.bytes() + TRACE_OVERHEAD, reason.unwrap_or(entry.marks.reason()));
        self.line.remove(&entry.seen);
        self.origins.trace_left();
        self.retention.leave((id, entry.seen, bytes), entry.marks);
        self.stats.bytes -= bytes;
        self.stats.spans -= u64::from(entry.spans());
        self.stats.evicted_spans += u64::from(entry.spans());
        self.stats.evicted_traces[reason as usize] += 1;
        self.evicted.insert(id, reason as u8);
    }

    fn bytes(&self) -> usize {
        self.stats.bytes + self.origins.bytes() + self.operations.bytes()
    }
}

#[cfg(test)]
mod tests;
