//! The parents of spans, also where a client and a server span share one id.
//!
//! Zipkin's clients, Envoy for instance, give both sides of a call the same id. The server span is then a child of the
//! client span, and spans that name the shared id as their parent are children of the server span. Jaeger calls the
//! correction its span id deduplication.

use std::collections::{HashMap, HashSet};

use super::{Kind, Span, SpanId, Trace};

/// The parent of a span.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Parent {
    /// The span has no parent.
    None,
    /// The parent is not in the trace.
    Missing,
    /// Position of the parent in the trace.
    At(usize),
}

/// The parents of the spans of a trace.
#[derive(Debug)]
pub struct Hierarchy {
    parents: Vec<Parent>,
    is_duplicate: Vec<bool>,
}

impl Hierarchy {
    /// Finds the parents of all spans of a trace.
    pub fn of(trace: &Trace) -> Self {
        let positions = trace.positions();
        // Without duplicate ids, no id is shared.
        let shared = if positions.len() < trace.spans.len() { shared_ids(trace) } else { HashMap::new() };
        let place = |(index, span): (usize, &Span)| {
            if let Some(Shared { client, server }) = shared.get(&span.span_id) {
                let is_duplicate = index != *client && index != *server;
                if span.kind == Kind::Server {
                    return (Parent::At(*client), is_duplicate);
                }
                return (parent(span, &shared, &positions), is_duplicate);
            }
            (parent(span, &shared, &positions), positions.get(&span.span_id) != Some(&index))
        };
        let (parents, is_duplicate) = trace.spans.iter().enumerate().map(place).unzip();
        Self { parents, is_duplicate }
    }

    /// Returns the parent of the span at a position.
    pub fn parent(&self, span: usize) -> Parent {
        self.parents.get(span).copied().unwrap_or(Parent::None)
    }

    /// Returns whether another span has the id of the span at a position, apart from a client and a server span that
    /// share one. Of spans with one id, the first is no duplicate.
    pub fn is_duplicate(&self, span: usize) -> bool {
        self.is_duplicate.get(span).copied().unwrap_or_default()
    }
}

impl Trace {
    /// Gives each server span that shares its id with a client span an unused id and makes it a child of the client span.
    /// Spans whose parent has the shared id become children of the server span; of several, of the last one.
    pub fn split_shared_ids(&mut self) {
        let mut used: HashSet<SpanId> = self.spans.iter().map(|span| span.span_id).collect();
        if used.len() == self.spans.len() {
            return;
        }
        let shared = shared_ids(self);
        let mut last = 0;
        let mut new_ids: HashMap<SpanId, SpanId> = HashMap::new();
        let mut servers = HashSet::new();
        for (index, span) in self.spans.iter_mut().enumerate() {
            if span.kind != Kind::Server || !shared.contains_key(&span.span_id) {
                continue;
            }
            // As in Jaeger, the smallest unused id: every query returns the same one.
            let Some(id) = (last + 1..=u64::MAX).map(SpanId).find(|id| !used.contains(id)) else { return };
            last = id.0;
            used.insert(id);
            new_ids.insert(span.span_id, id);
            servers.insert(index);
            span.parent = Some(std::mem::replace(&mut span.span_id, id));
        }
        for (index, span) in self.spans.iter_mut().enumerate() {
            if let Some(id) = span.parent.and_then(|parent| new_ids.get(&parent))
                && !servers.contains(&index)
            {
                span.parent = Some(*id);
            }
        }
    }
}

/// The spans that share one id.
struct Shared {
    /// Position of the first client span.
    client: usize,
    /// Position of the last server span.
    server: usize,
}

/// Returns the ids that a client and a server span share.
fn shared_ids(trace: &Trace) -> HashMap<SpanId, Shared> {
    let mut servers = HashMap::new();
    let mut clients = HashMap::new();
    for (index, span) in trace.spans.iter().enumerate() {
        match span.kind {
            Kind::Server => drop(servers.insert(span.span_id, index)),
            Kind::Client => drop(clients.entry(span.span_id).or_insert(index)),
            _ => {}
        }
    }
    let shared = |(id, client)| Some((id, Shared { client, server: *servers.get(&id)? }));
    clients.into_iter().filter_map(shared).collect()
}

fn parent(span: &Span, shared: &HashMap<SpanId, Shared>, positions: &HashMap<SpanId, usize>) -> Parent {
    let Some(id) = span.parent else { return Parent::None };
    let server = shared.get(&id).map(|shared| shared.server);
    server.or_else(|| positions.get(&id).copied()).map_or(Parent::Missing, Parent::At)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::span;

    fn of_kind(kind: Kind, fields: (u64, u64, u64, u64)) -> Span {
        Span { kind, ..span(fields) }
    }

    /// A root, a client and a server span with the id 2, and a child of id 2.
    fn with_shared_id() -> [Span; 4] {
        [
            of_kind(Kind::Server, (1, 0, 0, 9)),
            of_kind(Kind::Client, (2, 1, 1, 8)),
            of_kind(Kind::Server, (2, 1, 2, 7)),
            span((3, 2, 3, 6)),
        ]
    }

    fn parents(trace: &Trace) -> Vec<Parent> {
        let hierarchy = Hierarchy::of(trace);
        (0..trace.spans.len()).map(|index| hierarchy.parent(index)).collect()
    }

    #[test]
    fn a_server_span_is_below_the_client_span_of_its_id_and_above_the_children_of_the_id() {
        use Parent::{At, None};
        let [root, client, server, child] = with_shared_id();
        let trace = Trace { spans: vec![root.clone(), client.clone(), server.clone(), child.clone()] };
        assert_eq!(parents(&trace), [None, At(0), At(1), At(2)]);
        let trace = Trace { spans: vec![child, server, client, root] };
        assert_eq!(parents(&trace), [At(1), At(2), At(3), None], "in any order");
        assert!((0..4).all(|index| !Hierarchy::of(&trace).is_duplicate(index)));
    }

    #[test]
    fn splitting_shared_ids_yields_the_same_parents_with_unused_ids() {
        let mut trace = Trace { spans: with_shared_id().to_vec() };
        let before = parents(&trace);
        trace.split_shared_ids();
        let ids: Vec<_> =
            trace.spans.iter().map(|span| (span.span_id.0, span.parent.map(|id| id.0))).collect();
        assert_eq!(ids, [(1, None), (2, Some(1)), (4, Some(2)), (3, Some(4))]);
        assert_eq!(parents(&trace), before);
        let split = trace.clone();
        trace.split_shared_ids();
        assert_eq!(trace, split);
    }

    #[test]
    fn every_server_span_of_a_shared_id_is_below_the_client_span() {
        let [root, client, server, child] = with_shared_id();
        let mut trace = Trace { spans: vec![root, client, server.clone(), child, server] };
        trace.split_shared_ids();
        let ids: Vec<_> =
            trace.spans.iter().map(|span| (span.span_id.0, span.parent.map(|id| id.0))).collect();
        assert_eq!(ids, [(1, None), (2, Some(1)), (4, Some(2)), (3, Some(5)), (5, Some(2))]);
    }

    #[test]
    fn other_duplicates_keep_their_id_and_are_marked() {
        let mut trace = Trace { spans: vec![span((1, 0, 0, 9)), span((2, 1, 1, 2)), span((2, 7, 1, 2))] };
        let hierarchy = Hierarchy::of(&trace);
        assert_eq!(parents(&trace), [Parent::None, Parent::At(0), Parent::Missing]);
        assert_eq!([0, 1, 2].map(|index| hierarchy.is_duplicate(index)), [false, false, true]);
        let before = trace.clone();
        trace.split_shared_ids();
        assert_eq!(trace, before);
    }
}
