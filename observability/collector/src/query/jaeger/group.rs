//! One group for each resource of a trace, as OTLP clients expect it.

use std::collections::HashMap;
use std::fmt::Debug;
use std::sync::Arc;

use crate::trace::{Resource, Scope, Trace};

/// Returns the trace with its spans ordered by resource and scope, both in the order of their first spans. Spans with
/// equal resources share one, and so do spans with equal scopes.
pub(super) fn by_resource(mut trace: Trace) -> Trace {
    let mut resources = Distinct::<Resource>::default();
    let mut scopes = Distinct::<Scope>::default();
    let mut keyed: Vec<_> = std::mem::take(&mut trace.spans)
        .into_iter()
        .map(|mut span| {
            let resource = resources.share(&mut span.resource);
            (resource, scopes.share(&mut span.scope), span)
        })
        .collect();
    keyed.sort_by_key(|(resource, scope, _)| (*resource, *scope));
    trace.spans.extend(keyed.into_iter().map(|(_, _, span)| span));
    trace
}

/// Distinct resources or scopes, numbered in the order of appearance. They are compared by their text in a map, because
/// pairwise comparison would be quadratic where a sender creates a resource for every span.
struct Distinct<T> {
    /// Keeps the originals alive so that no address is reused.
    by_address: HashMap<*const T, (Arc<T>, usize)>,
    by_text: HashMap<String, usize>,
    list: Vec<Arc<T>>,
}

impl<T> Default for Distinct<T> {
    fn default() -> Self {
        Self { by_address: HashMap::new(), by_text: HashMap::new(), list: Vec::new() }
    }
}

impl<T: Debug> Distinct<T> {
    /// Replaces a value by the first equal one and returns its number.
    fn share(&mut self, value: &mut Arc<T>) -> usize {
        let Self { by_address, by_text, list } = self;
        let (_, number) = by_address.entry(Arc::as_ptr(value)).or_insert_with(|| {
            let number = *by_text.entry(format!("{value:?}")).or_insert_with(|| {
                list.push(Arc::clone(value));
                list.len() - 1
            });
            (Arc::clone(value), number)
        });
        let number = *number;
        *value = Arc::clone(&list[number]);
        number
    }
}
