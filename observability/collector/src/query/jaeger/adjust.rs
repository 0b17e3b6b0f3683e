//! Jaeger's query adjusters: attributes sorted by key, events by time; duplicate spans and links without a trace id
//! removed.
//!
//! Both versions of the API apply them unless a request asks for raw traces.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;

use crate::trace::{Attribute, Resource, Scope, Span, SpanId, Trace};

pub(super) fn adjusted(mut trace: Trace) -> Trace {
    let mut resources = Sorted::default();
    let mut scopes = Sorted::default();
    for span in &mut trace.spans {
        span.resource = resources.sorted(&span.resource, |resource: &mut Resource| &mut resource.attributes);
        span.scope = scopes.sorted(&span.scope, |scope: &mut Scope| &mut scope.attributes);
        sort(&mut span.attributes);
        span.events.sort_by_key(|event| event.time_ns);
        span.events.iter_mut().for_each(|event| sort(&mut event.attributes));
        span.links.retain(|link| link.trace_id.is_some());
        span.links.iter_mut().for_each(|link| sort(&mut link.attributes));
    }
    without_repeats(trace)
}

/// Removes identical spans, which retries of a sender produce. Different spans with the same id both stay.
pub(super) fn without_repeats(mut trace: Trace) -> Trace {
    let mut uses: HashMap<SpanId, u32> = HashMap::with_capacity(trace.spans.len());
    for span in &trace.spans {
        *uses.entry(span.span_id).or_default() += 1;
    }
    // By digest: pairwise comparison would be quadratic where a sender gives all spans the same id.
    let hasher = RandomState::new();
    let mut seen = HashSet::new();
    trace.spans.retain(|span| uses.get(&span.span_id) == Some(&1) || seen.insert(digest(&hasher, span)));
    trace
}

fn digest(hasher: &RandomState, span: &Span) -> u64 {
    // The debug output contains all fields, including resource and scope.
    hasher.hash_one(format!("{span:?}"))
}

fn sort(attributes: &mut [Attribute]) {
    attributes.sort_by(|a, b| a.key.cmp(&b.key));
}

/// Sorted copies of shared resources or scopes, one for each original, by address. The map keeps the originals alive so
/// that no address is reused.
struct Sorted<T>(HashMap<*const T, (Arc<T>, Arc<T>)>);

impl<T> Default for Sorted<T> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<T: Clone> Sorted<T> {
    fn sorted(&mut self, original: &Arc<T>, attributes: fn(&mut T) -> &mut Vec<Attribute>) -> Arc<T> {
        let (_, sorted) = self.0.entry(Arc::as_ptr(original)).or_insert_with(|| {
            let mut copy = T::clone(original);
            sort(attributes(&mut copy));
            (Arc::clone(original), Arc::new(copy))
        });
        Arc::clone(sorted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::span;
    use crate::trace::{Event, Link, TraceId, Value};

    fn attribute(key: &str) -> Attribute {
        Attribute { key: key.to_owned(), value: Value::Bool(true) }
    }

    fn keys(attributes: &[Attribute]) -> Vec<&str> {
        attributes.iter().map(|attribute| attribute.key.as_str()).collect()
    }

    #[test]
    fn sorts_attributes_and_events_and_keeps_resources_shared() {
        let unsorted = vec![attribute("b"), attribute("a")];
        let resource = Arc::new(Resource { attributes: unsorted.clone(), ..Resource::default() });
        let event = |time_ns| Event { time_ns, attributes: unsorted.clone(), ..Event::default() };
        let link = |trace_id| Link {
            trace_id,
            span_id: None,
            trace_state: String::new(),
            attributes: unsorted.clone(),
            dropped_attributes: 0,
            flags: 0,
        };
        let unadjusted = |id| Span {
            attributes: unsorted.clone(),
            events: vec![event(2), event(1)],
            links: vec![link(None), link(Some(TraceId(7)))],
            resource: Arc::clone(&resource),
            ..span((id, 0, 0, 1))
        };
        let trace = adjusted(Trace { spans: vec![unadjusted(1), unadjusted(2)] });
        let [first, second] = &trace.spans[..] else { panic!("{trace:?}") };
        assert_eq!(keys(&first.attributes), ["a", "b"]);
        assert_eq!(keys(&first.resource.attributes), ["a", "b"]);
        assert_eq!(first.events.iter().map(|event| event.time_ns).collect::<Vec<_>>(), [1, 2]);
        assert_eq!(keys(&first.events[0].attributes), ["a", "b"]);
        assert_eq!(first.links.len(), 1, "the link without a trace id is removed");
        assert_eq!(keys(&first.links[0].attributes), ["a", "b"]);
        assert!(Arc::ptr_eq(&first.resource, &second.resource));
    }

    #[test]
    fn removes_duplicate_spans_but_keeps_different_spans_with_the_same_id() {
        let other = Span { name: "other".to_owned(), ..span((1, 0, 0, 1)) };
        let elsewhere = Span {
            resource: Arc::new(Resource { attributes: vec![attribute("a")], ..Resource::default() }),
            ..span((1, 0, 0, 1))
        };
        let spans = vec![span((1, 0, 0, 1)), other, span((1, 0, 0, 1)), elsewhere, span((2, 0, 0, 1))];
        let trace = adjusted(Trace { spans: spans.clone() });
        let expected = [&spans[0], &spans[1], &spans[3], &spans[4]];
        assert_eq!(trace.spans.iter().collect::<Vec<_>>(), expected);
    }

    #[test]
    fn adjusts_a_hundred_thousand_spans_with_the_same_id() {
        let numbered = |number| span((1, 0, number, number + 1));
        let trace = adjusted(Trace { spans: (0..100_000).map(numbered).collect() });
        assert_eq!(trace.spans.len(), 100_000);
    }
}
