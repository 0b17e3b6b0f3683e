//! Search conditions, with the semantics of Jaeger 2.20: one span must meet all of them.

use std::ops::RangeInclusive;

use super::search_terms;
use crate::go_syntax;
use crate::otlp::text::as_text;
use crate::trace::{Attribute, Span};

/// A search. Unset conditions match every span.
#[derive(Debug, Clone)]
pub(crate) struct Query {
    pub(crate) service: Option<String>,
    pub(crate) operation: Option<String>,
    /// Key and text of the value.
    pub(crate) tags: Vec<(String, String)>,
    /// Start of the span in nanoseconds since the epoch.
    pub(crate) start_ns: RangeInclusive<u64>,
    pub(crate) duration_ns: RangeInclusive<u64>,
    /// Maximum number of traces.
    pub(crate) limit: usize,
}

impl Query {
    /// Returns lists of terms: a matching trace has at least one term of each list.
    pub(super) fn terms(&self) -> Vec<Vec<u64>> {
        let service = self.service.iter().map(|name| vec![search_terms::service(name)]);
        let operation = self.operation.iter().map(|name| vec![search_terms::operation(name)]);
        service
            .chain(operation)
            .chain(self.tags.iter().map(|(key, value)| search_terms::tag(key, value)))
            .collect()
    }

    /// Returns whether the service and the times of a span decide whether it matches.
    pub(super) fn is_decided_by_records(&self) -> bool {
        self.operation.is_none() && self.tags.is_empty()
    }

    /// Returns whether a span with these times can match.
    pub(super) fn is_within(&self, start_ns: u64, end_ns: u64) -> bool {
        self.start_ns.contains(&start_ns) && self.duration_ns.contains(&end_ns.saturating_sub(start_ns))
    }

    /// Returns whether this span meets all conditions.
    pub(crate) fn matches(&self, span: &Span) -> bool {
        self.service.as_deref().is_none_or(|service| service == span.service())
            && self.operation.as_deref().is_none_or(|operation| operation == span.operation())
            && self.is_within(span.start_ns, span.end_ns)
            && self.tags.iter().all(|(key, value)| has_tag(span, key, value))
    }
}

fn has_tag(span: &Span, key: &str, value: &str) -> bool {
    let special = match key {
        // For `false` Jaeger 2.20 matches a status of Ok only, later versions anything but an error; this follows the
        // latter.
        "error" => go_syntax::parse_bool(value).ok().map(|is_error| is_error == span.is_error()),
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
