//! Identical spans, which retries of a sender produce. Different spans with the same id all stay.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher as _, RandomState};

use crate::trace::{Span, SpanId, Trace};

pub(super) fn remove(trace: &mut Trace) {
    let mut uses: HashMap<SpanId, u32> = HashMap::with_capacity(trace.spans.len());
    for span in &trace.spans {
        *uses.entry(span.span_id).or_default() += 1;
    }
    // By digest: pairwise comparison would be quadratic where a sender gives all spans the same id.
    let hasher = RandomState::new();
    let mut seen = HashSet::new();
    trace.spans.retain(|span| uses.get(&span.span_id) == Some(&1) || seen.insert(digest(&hasher, span)));
}

fn digest(hasher: &RandomState, span: &Span) -> u64 {
    // The debug output contains all fields, including resource and scope.
    hasher.hash_one(format!("{span:?}"))
}
