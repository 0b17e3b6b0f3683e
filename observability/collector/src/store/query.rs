//! What a search asks for, and whether a span answers it, by the rules of Jaeger 2.20: every condition must hold on one
//! and the same span.

use std::ops::RangeInclusive;

use super::tokens;
use crate::go_syntax;
use crate::otlp::text::as_text;
use crate::trace::{Attribute, Span};

/// A search. What is not set matches every span.
#[derive(Debug, Clone)]
pub(crate) struct Query {
    pub(crate) service: Option<String>,
    pub(crate) operation: Option<String>,
    /// Key and value, by the value's text.
    pub(crate) tags: Vec<(String, String)>,
    /// When the span started, nanoseconds since the epoch.
    pub(crate) start_ns: RangeInclusive<u64>,
    pub(crate) duration_ns: RangeInclusive<u64>,
    /// Traces returned at most.
    pub(crate) limit: usize,
}

impl Query {
    /// Hashes of which a trace must hold one of each list to have an answer.
    pub(super) fn tokens(&self) -> Vec<Vec<u64>> {
        let service = self.service.iter().map(|name| vec![tokens::service(name)]);
        let operation = self.operation.iter().map(|name| vec![tokens::operation(name)]);
        service.chain(operation).chain(self.tags.iter().map(|(key, value)| tokens::tag(key, value))).collect()
    }

    /// Whether a span that started and took so long can be the one.
    pub(super) fn is_within(&self, start_ns: u64, end_ns: u64) -> bool {
        self.start_ns.contains(&start_ns) && self.duration_ns.contains(&end_ns.saturating_sub(start_ns))
    }

    /// Whether this span meets every condition.
    pub(crate) fn matches(&self, span: &Span) -> bool {
        self.service.as_deref().is_none_or(|service| service == span.service())
            && self.operation.as_deref().is_none_or(|operation| operation == span.name)
            && self.is_within(span.start_ns, span.end_ns)
            && self.tags.iter().all(|(key, value)| has_tag(span, key, value))
    }
}

fn has_tag(span: &Span, key: &str, value: &str) -> bool {
    let special = match key {
        // Jaeger 2.20 takes `false` for a declared success, its successor for anything but an error: this is the latter.
        "error" => go_syntax::parse_bool(value).ok().map(|asked| asked == span.is_error()),
        "span.status" => Some(value.eq_ignore_ascii_case(span.status.code.as_str())),
        "span.kind" => Some(value.eq_ignore_ascii_case(span.kind.as_str())),
        "scope.name" => Some(value == span.scope.name),
        "scope.version" => Some(value == span.scope.version),
        _ => None,
    };
    let resource = &span.resource.attributes;
    special == Some(true)
        || key.strip_prefix("resource.").is_some_and(|key| holds(resource, key, value))
        || [&span.attributes, &span.scope.attributes, resource]
            .into_iter()
            .chain(span.events.iter().map(|event| &event.attributes))
            .chain(span.links.iter().map(|link| &link.attributes))
            .any(|attributes| holds(attributes, key, value))
}

fn holds(attributes: &[Attribute], key: &str, value: &str) -> bool {
    attributes.iter().any(|attribute| attribute.key == key && as_text(&attribute.value) == value)
}
