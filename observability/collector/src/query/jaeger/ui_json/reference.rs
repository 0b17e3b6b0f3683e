//! Parses references into a parent and links.

use serde::Deserialize;

use crate::trace::{Attribute, Link, ParseIdError, SpanId, TraceId, Value};

/// A reference; ids that are empty or zero are `None`.
#[derive(Debug, Deserialize)]
#[serde(try_from = "ReferenceFields")]
pub(super) struct InputReference {
    kind: ReferenceType,
    trace_id: Option<TraceId>,
    span_id: Option<SpanId>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ReferenceFields {
    ref_type: ReferenceType,
    #[serde(rename = "traceID")]
    trace_id: String,
    #[serde(rename = "spanID")]
    span_id: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
enum ReferenceType {
    ChildOf,
    FollowsFrom,
}

impl TryFrom<ReferenceFields> for InputReference {
    type Error = ParseIdError;

    fn try_from(
        ReferenceFields { ref_type, trace_id, span_id }: ReferenceFields,
    ) -> Result<Self, ParseIdError> {
        let is_zero = |id: &str| id.bytes().all(|digit| digit == b'0');
        let trace_id = if is_zero(&trace_id) { None } else { Some(trace_id.parse()?) };
        let span_id = if is_zero(&span_id) { None } else { Some(span_id.parse()?) };
        Ok(Self { kind: ref_type, trace_id, span_id })
    }
}

/// Returns the index of the reference to the parent, and the parent's id: the first CHILD_OF within the trace, or else the
/// first reference if it lies within the trace. A parent that is also the target of a link is written in
/// the latter form.
pub(super) fn parent(references: &[InputReference], trace_id: TraceId) -> Option<(usize, SpanId)> {
    let within = |reference: &InputReference| {
        reference.span_id.filter(|_| reference.trace_id == Some(trace_id)).map(|id| (reference.kind, id))
    };
    let mut children = references.iter().map(within).enumerate();
    let child_of = children
        .find_map(|(index, to)| to.filter(|to| to.0 == ReferenceType::ChildOf).map(|to| (index, to.1)));
    child_of.or_else(|| references.first().and_then(within).map(|(_, id)| (0, id)))
}

/// Returns the links: all references except a CHILD_OF to the parent.
pub(super) fn links(references: Vec<InputReference>, parent: Option<usize>) -> Vec<Link> {
    let others = references.into_iter().enumerate();
    others
        .filter(|(index, reference)| Some(*index) != parent || reference.kind == ReferenceType::FollowsFrom)
        .map(|(_, reference)| link(&reference))
        .collect()
}

/// Converts a reference; a CHILD_OF gets the attribute that marks it.
fn link(reference: &InputReference) -> Link {
    let child_of =
        || Attribute { key: "opentracing.ref_type".to_owned(), value: Value::String("child_of".to_owned()) };
    Link {
        trace_id: reference.trace_id,
        span_id: reference.span_id,
        trace_state: String::new(),
        attributes: (reference.kind == ReferenceType::ChildOf).then(child_of).into_iter().collect(),
        dropped_attributes: 0,
        flags: 0,
    }
}
