//! Finding traces. The store's lock is held for about half a millisecond at a time (a very large trace takes longer), and
//! nothing is decoded under it, so that a search through everything holds up nobody who sends spans.

use std::collections::{BTreeMap, HashMap};
use std::ops::RangeInclusive;
use std::time::{Duration, Instant};

use foldhash::fast::RandomState;

use super::entry::{Entry, Record};
use super::{Inner, Query, Store};
use crate::trace::{Trace, TraceId};

/// How long the lock is held: to get it again while spans come in may take as long.
const HELD: Duration = Duration::from_micros(500);

/// Traces looked at before it is asked how long that took.
const SLICE: usize = 256;

/// Bytes of traces that are copied at once, to be looked into without the lock.
const COPIED: usize = 4 << 20;

/// Spans of a trace that are searched one after another.
const FEW: u32 = 32;

/// How often a child's service has a span whose parent is of the parent's service: parent, then child.
type Calls = BTreeMap<String, BTreeMap<String, u64>>;

impl Store {
    /// The traces with a span that matches, the most recently first-seen first. Each is decoded when it is asked for: all of
    /// them together may take several times as much as the store.
    pub(crate) fn search(&self, query: &Query) -> impl Iterator<Item = Trace> {
        let wanted = query.tokens();
        let (mut before, mut candidates) = (u64::MAX, Vec::new().into_iter());
        let all = std::iter::from_fn(move || {
            while candidates.len() == 0 && before > 0 {
                let (slice, rest) = self.lock().candidates(query, &wanted, before);
                (candidates, before) = (slice.into_iter(), rest);
            }
            candidates.next()
        });
        all.filter_map(|(id, entry)| answer(query, id, &entry)).take(query.limit)
    }

    /// How often a span of one service has a parent of another (or the same) in its trace, of the kept spans that started in
    /// these nanoseconds: `((parent, child), count)`.
    pub(crate) fn dependencies(&self, start_ns: &RangeInclusive<u64>) -> BTreeMap<(String, String), u64> {
        let mut calls = Calls::new();
        let mut before = u64::MAX;
        while before > 0 {
            before = self.lock().count_calls(start_ns, before, &mut calls);
        }
        let edges = calls.into_iter().flat_map(|(parent, children)| {
            children.into_iter().map(move |(child, count)| ((parent.clone(), child), count))
        });
        edges.collect()
    }
}

impl Inner {
    /// Of the traces first seen before `before`, the latest that may hold an answer, as many as are asked for and copied at
    /// once; and before which the next are, 0 at the end.
    fn candidates(
        &self,
        query: &Query,
        wanted: &[Vec<u64>],
        before: u64,
    ) -> (Vec<(TraceId, Box<Entry>)>, u64) {
        let mut candidates = Vec::new();
        let (mut rest, mut copied) = (0, 0);
        let started = Instant::now();
        for (number, (seen, id)) in self.line.range(..before).rev().enumerate() {
            if number % SLICE == SLICE - 1 && started.elapsed() > HELD {
                return (candidates, rest);
            }
            rest = *seen;
            let Some(entry) = self.traces.get(id) else { continue };
            if entry.longest_ns >= *query.duration_ns.start()
                && entry.may_hold(wanted)
                && entry.records().any(|record| may_answer(query, entry, &record))
            {
                candidates.push((*id, entry.clone()));
                copied += entry.bytes();
                if candidates.len() == query.limit || copied > COPIED {
                    return (candidates, rest);
                }
            }
        }
        (candidates, 0)
    }

    /// Counts those of traces first seen before `before`, the latest first, for a while. Returns before which the next are, 0
    /// at the end.
    fn count_calls(&self, start_ns: &RangeInclusive<u64>, before: u64, calls: &mut Calls) -> u64 {
        let started = Instant::now();
        for (seen, id) in self.line.range(..before).rev() {
            if let Some(entry) = self.traces.get(id) {
                count_calls(entry, start_ns, calls);
            }
            if started.elapsed() > HELD {
                return *seen;
            }
        }
        0
    }
}

fn may_answer(query: &Query, entry: &Entry, record: &Record<'_>) -> bool {
    query.is_within(record.start_ns, record.end_ns)
        && query
            .service
            .as_deref()
            .is_none_or(|service| entry.origin(record).is_some_and(|origin| *origin.service == *service))
}

/// The trace, if one of its spans matches.
fn answer(query: &Query, id: TraceId, entry: &Entry) -> Option<Trace> {
    let matches = |record: &Record<'_>| {
        may_answer(query, entry, record) && entry.span(id, record).is_some_and(|span| query.matches(&span))
    };
    entry.records().any(|record| matches(&record)).then(|| entry.decode(id))
}

fn count_calls(entry: &Entry, start_ns: &RangeInclusive<u64>, calls: &mut Calls) {
    if !entry.records().any(|record| record.parent != 0 && start_ns.contains(&record.start_ns)) {
        return;
    }
    // A map costs more than it saves while there are few.
    let by_id: Option<HashMap<u64, Record<'_>, RandomState>> = (entry.spans() > FEW).then(|| {
        // Of two spans with one id, the one that came first.
        entry.records().fold(HashMap::default(), |mut spans, record| {
            spans.entry(record.span_id).or_insert(record);
            spans
        })
    });
    let find = |id: u64| match &by_id {
        Some(spans) => spans.get(&id).copied(),
        None => entry.records().find(|record| record.span_id == id),
    };
    for record in entry.records().filter(|record| record.parent != 0 && start_ns.contains(&record.start_ns)) {
        let parent = find(record.parent).and_then(|parent| entry.origin(&parent));
        if let (Some(parent), Some(child)) = (parent, entry.origin(&record)) {
            count(calls, &parent.service, &child.service);
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
