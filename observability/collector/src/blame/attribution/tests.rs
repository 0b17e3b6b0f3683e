use std::sync::Arc;

use super::*;
use crate::fixture::span as bare_span;
use crate::trace::{Attribute, Resource};

fn text(key: &str, value: &str) -> Attribute {
    Attribute { key: key.into(), value: Value::String(value.into()) }
}

fn span(
    id: u64,
    parent: u64,
    service: &str,
    kind: Kind,
    times: (u64, u64),
    attributes: Vec<Attribute>,
) -> Span {
    let resource = Resource { attributes: vec![text("service.name", service)], ..Resource::default() };
    Span { kind, attributes, resource: Arc::new(resource), ..bare_span((id, parent, times.0, times.1)) }
}

#[test]
fn attributes_work_waits_and_transit_to_hops() {
    let wait = Attribute { key: contract::WAIT.into(), value: Value::Bool(true) };
    let trace = Trace {
        spans: vec![
            span(1, 0, "shop", Kind::Client, (0, 100), vec![]),
            span(2, 1, "cart", Kind::Server, (10, 90), vec![]),
            span(3, 2, "cart", Kind::Internal, (20, 40), vec![wait]),
            span(4, 2, "cart", Kind::Client, (40, 70), vec![text(contract::DB_SYSTEM_NAME, "postgresql")]),
            span(5, 2, "cart", Kind::Client, (70, 80), vec![]),
        ],
    };
    let parts = attribute(&trace);
    assert_eq!(parts.iter().map(|part| part.duration_ns).sum::<u64>(), 100);
    let shares = shares(parts);
    let share = |hop: &str, kind| {
        let found = shares.iter().find(|share| share.hop == hop && share.kind == kind);
        found.map(|share| share.share)
    };
    for (hop, kind, expected) in [
        ("shop → cart", ShareKind::Transit, 0.2),
        ("cart", ShareKind::Work, 0.2),
        ("cart", ShareKind::Wait, 0.2),
        ("database", ShareKind::Work, 0.3),
        ("cart → ?", ShareKind::Transit, 0.1),
    ] {
        assert_eq!(share(hop, kind), Some(expected), "{hop} {kind:?}");
    }
    assert_eq!((shares.len(), shares[0].hop.as_str()), (5, "database"));
}

#[test]
fn a_trace_without_a_root_has_no_parts() {
    assert_eq!(attribute(&Trace { spans: Vec::new() }), []);
    assert_eq!(shares([]), []);
}
