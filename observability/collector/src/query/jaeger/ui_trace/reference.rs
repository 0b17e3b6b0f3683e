//! References as a parent and links.

use serde::Deserialize;

use crate::trace::{Attribute, Link, ParseIdError, SpanId, TraceId, Value};

/// Ids of zeros, or none, lead nowhere.
#[derive(Debug, Deserialize)]
#[serde(try_from = "UiReference")]
pub(super) struct Reference {
    kind: Kind,
    trace_id: Option<TraceId>,
    span_id: Option<SpanId>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct UiReference {
    ref_type: Kind,
    #[serde(rename = "traceID")]
    trace_id: String,
    #[serde(rename = "spanID")]
    span_id: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
enum Kind {
    ChildOf,
    FollowsFrom,
}

impl TryFrom<UiReference> for Reference {
    type Error = ParseIdError;

    fn try_from(UiReference { ref_type, trace_id, span_id }: UiReference) -> Result<Self, ParseIdError> {
        let leads_nowhere = |id: &str| id.bytes().all(|digit| digit == b'0');
        let trace_id = if leads_nowhere(&trace_id) { None } else { Some(trace_id.parse()?) };
        let span_id = if leads_nowhere(&span_id) { None } else { Some(span_id.parse()?) };
        Ok(Self { kind: ref_type, trace_id, span_id })
    }
}

/// Which of the references leads to the parent, and its id: the first CHILD_OF within the trace. Without one it is a
/// FOLLOWS_FROM that stands first, for that is how a parent is written that is linked to as well.
pub(super) fn parent(references: &[Reference], trace_id: TraceId) -> Option<(usize, SpanId)> {
    let within = |reference: &Reference| {
        reference.span_id.filter(|_| reference.trace_id == Some(trace_id)).map(|id| (reference.kind, id))
    };
    let mut children = references.iter().map(within).enumerate();
    let child_of =
        children.find_map(|(index, to)| to.filter(|to| to.0 == Kind::ChildOf).map(|to| (index, to.1)));
    child_of.or_else(|| references.first().and_then(within).map(|(_, id)| (0, id)))
}

/// All references but the one that only says which span is the parent.
pub(super) fn links(references: Vec<Reference>, parent: Option<usize>) -> Vec<Link> {
    let others = references.into_iter().enumerate();
    others
        .filter(|(index, reference)| Some(*index) != parent || reference.kind == Kind::FollowsFrom)
        .map(|(_, reference)| link(&reference))
        .collect()
}

/// A link is FOLLOWS_FROM unless an attribute says otherwise.
fn link(reference: &Reference) -> Link {
    let child_of =
        || Attribute { key: "opentracing.ref_type".to_owned(), value: Value::String("child_of".to_owned()) };
    Link {
        trace_id: reference.trace_id,
        span_id: reference.span_id,
        trace_state: String::new(),
        attributes: (reference.kind == Kind::ChildOf).then(child_of).into_iter().collect(),
        dropped_attributes: 0,
        flags: 0,
    }
}
