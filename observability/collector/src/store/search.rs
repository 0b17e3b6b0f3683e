//! Search. The store's lock is held for about 0.5 ms at a time (longer for a very large trace), and nothing is
//! decoded under it, so that a search through all traces does not block ingest.

use std::collections::{BTreeMap, HashMap};
use std::ops::RangeInclusive;
use std::time::{Duration, Instant};

use foldhash::fast::RandomState;

use super::entry::{Entry, Record};
use super::{Inner, Query, Store};
use crate::trace::{Hierarchy, Parent, Trace, TraceId};

/// Maximum time for which the lock is held. Taking it again during ingest may take as long.
const MAX_LOCK_TIME: Duration = Duration::from_micros(500);

/// Number of traces between two looks at the clock.
const CHECK_INTERVAL: usize = 256;

/// Maximum size of the traces that are copied at once, to be decoded without the lock.
pub(super) const MAX_COPIED_BYTES: usize = 4 << 20;

/// Maximum number of spans of a trace that is scanned instead of indexed by span id.
const MAX_SCANNED_SPANS: u32 = 32;

/// Number of calls between services: parent, then child.
type Calls = BTreeMap<String, BTreeMap<String, u64>>;

impl Store {
    /// Returns the traces with a matching span, the latest arrivals first. Each is decoded when the iterator reaches
    /// it: decoded at once they could take several times as much memory as the store.
    pub(crate) fn search(&self, query: &Query) -> impl Iterator<Item = Trace> {
        let wanted = query.terms();
        let (mut before, mut candidates) = (u64::MAX, Vec::new().into_iter());
        let all = std::iter::from_fn(move || {
            while candidates.len() == 0 && before > 0 {
                let (slice, rest) = self.lock().candidates(query, &wanted, before);
                (candidates, before) = (slice.into_iter(), rest);
            }
            candidates.next()
        });
        all.filter_map(|(id, entry)| matching_trace(query, id, &entry)).take(query.limit)
    }

    /// Returns the number of calls between services as `((parent, child), count)`, from the stored spans that started
    /// in this range.
    pub(crate) fn dependencies(&self, start_ns: &RangeInclusive<u64>) -> BTreeMap<(String, String), u64> {
        let mut calls = Calls::new();
        let mut before = u64::MAX;
        while before > 0 {
            let (uncounted, rest) = self.lock().count_calls(start_ns, before, &mut calls);
            for (id, entry) in uncounted {
                count_calls_by_hierarchy(&entry.decode(id), start_ns, &mut calls);
            }
            before = rest;
        }
        let edges = calls.into_iter().flat_map(|(parent, children)| {
            children.into_iter().map(move |(child, count)| ((parent.clone(), child), count))
        });
        edges.collect()
    }
}

impl Inner {
    /// Returns the latest candidates that arrived before `before`, up to the limits of the query and of copying, and
    /// the sequence number to continue before; 0 at the end.
    fn candidates(
        &self,
        query: &Query,
        wanted: &[Vec<u64>],
        before: u64,
    ) -> (Vec<(TraceId, Box<Entry>)>, u64) {
        let (mut candidates, mut copied) = (Vec::new(), 0);
        let rest = self.visit_candidates(query, wanted, before, |id, entry| {
            candidates.push((id, entry.clone()));
            copied += entry.bytes();
            candidates.len() < query.limit && copied <= MAX_COPIED_BYTES
        });
        (candidates, rest)
    }

    /// Visits the candidates that arrived before `before`, the latest first, for up to [`MAX_LOCK_TIME`] or until `visit`
    /// returns `false`. Returns the sequence number to continue before; 0 at the end.
    pub(super) fn visit_candidates(
        &self,
        query: &Query,
        wanted: &[Vec<u64>],
        before: u64,
        mut visit: impl FnMut(TraceId, &Box<Entry>) -> bool,
    ) -> u64 {
        let mut rest = 0;
        let started = Instant::now();
        for (number, (sequence, id)) in self.by_arrival.range(..before).rev().enumerate() {
            if number % CHECK_INTERVAL == CHECK_INTERVAL - 1 && started.elapsed() > MAX_LOCK_TIME {
                return rest;
            }
            rest = *sequence;
            let Some(entry) = self.traces.get(id) else { continue };
            if entry.longest_ns >= *query.duration_ns.start()
                && entry.may_contain(wanted)
                && entry.records().any(|record| may_match(query, entry, &record))
                && !visit(*id, entry)
            {
                return rest;
            }
        }
        0
    }

    /// Counts calls of traces that arrived before `before`, the latest first, for up to [`MAX_LOCK_TIME`]. Returns the
    /// traces that must be decoded to be counted, up to the limit of copying, and the sequence number to continue before;
    /// 0 at the end.
    fn count_calls(
        &self,
        start_ns: &RangeInclusive<u64>,
        before: u64,
        calls: &mut Calls,
    ) -> (Vec<(TraceId, Box<Entry>)>, u64) {
        let (mut uncounted, mut copied) = (Vec::new(), 0);
        let started = Instant::now();
        for (sequence, id) in self.by_arrival.range(..before).rev() {
            if let Some(entry) = self.traces.get(id)
                && !count_calls(entry, start_ns, calls)
            {
                uncounted.push((*id, entry.clone()));
                copied += entry.bytes();
            }
            if copied > MAX_COPIED_BYTES || started.elapsed() > MAX_LOCK_TIME {
                return (uncounted, *sequence);
            }
        }
        (uncounted, 0)
    }
}

fn may_match(query: &Query, entry: &Entry, record: &Record<'_>) -> bool {
    query.is_within(record.start_ns, record.end_ns)
        && query.service.as_deref().is_none_or(|service| {
            entry
                .resource_scope(record)
                .is_some_and(|resource_scope| *resource_scope.resource.service == *service)
        })
}

/// Returns the trace if one of its spans matches.
fn matching_trace(query: &Query, id: TraceId, entry: &Entry) -> Option<Trace> {
    is_match(query, id, entry).then(|| entry.decode(id))
}

/// Returns whether one of the trace's spans matches.
pub(super) fn is_match(query: &Query, id: TraceId, entry: &Entry) -> bool {
    let matches = |record: &Record<'_>| {
        may_match(query, entry, record) && entry.span(id, record).is_some_and(|span| query.matches(&span))
    };
    entry.records().any(|record| matches(&record))
}

/// Counts the calls of a trace. Returns `false` without counting if spans share an id: which of them is the parent depends on
/// their kinds, which are not in the records.
fn count_calls(entry: &Entry, start_ns: &RangeInclusive<u64>, calls: &mut Calls) -> bool {
    if !entry.records().any(|record| start_ns.contains(&record.start_ns)) {
        return true;
    }
    // For few spans a scan is faster than building a map.
    let by_id: Option<HashMap<u64, Record<'_>, RandomState>> = (entry.spans() > MAX_SCANNED_SPANS)
        .then(|| entry.records().map(|record| (record.span_id, record)).collect());
    let has_duplicate_ids = match &by_id {
        Some(spans) => spans.len() < entry.spans() as usize,
        None => entry.records().enumerate().any(|(index, record)| {
            entry.records().take(index).any(|earlier| earlier.span_id == record.span_id)
        }),
    };
    if has_duplicate_ids {
        return false;
    }
    let find = |id: u64| match &by_id {
        Some(spans) => spans.get(&id).copied(),
        None => entry.records().find(|record| record.span_id == id),
    };
    for record in entry.records().filter(|record| record.parent != 0 && start_ns.contains(&record.start_ns)) {
        let parent = find(record.parent).and_then(|parent| entry.resource_scope(&parent));
        if let (Some(parent), Some(child)) = (parent, entry.resource_scope(&record)) {
            count(calls, &parent.resource.service, &child.resource.service);
        }
    }
    true
}

/// Counts the calls of a decoded trace, in which spans may share an id.
fn count_calls_by_hierarchy(trace: &Trace, start_ns: &RangeInclusive<u64>, calls: &mut Calls) {
    let hierarchy = Hierarchy::of(trace);
    for (index, span) in trace.spans.iter().enumerate().filter(|(_, span)| start_ns.contains(&span.start_ns))
    {
        if let Parent::At(parent) = hierarchy.parent(index) {
            count(calls, trace.spans[parent].service(), span.service());
        }
    }
}

fn count(calls: &mut Calls, parent: &str, child: &str) {
    if !calls.contains_key(parent) {
        calls.insert(parent.to_owned(), BTreeMap::new());
    }
    let Some(children) = calls.get_mut(parent) else { return };
    match children.get_mut(child) {
        Some(count) => *count += 1,
        None => drop(children.insert(child.to_owned(), 1)),
    }
}

#[cfg(test)]
mod tests;
