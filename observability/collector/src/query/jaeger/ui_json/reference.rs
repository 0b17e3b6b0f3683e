//! Parses references into a parent and links.

use serde::Deserialize;

use super::lenient::Text;
use crate::trace::{Attribute, Link, ParseIdError, SpanId, TraceId, Value};

/// A reference; ids that are empty or zero are `None`.
#[derive(Debug, Deserialize)]
#[serde(try_from = "ReferenceFields")]
pub(super) struct InputReference {
    kind: ReferenceType,
    trace: ReferencedTrace,
    span_id: Option<SpanId>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ReferenceFields {
    #[serde(default)]
    ref_type: Text,
    #[serde(rename = "traceID")]
    trace_id: Option<Text>,
    #[serde(rename = "spanID", default)]
    span_id: Text,
}

#[derive(Debug, PartialEq)]
enum ReferenceType {
    ChildOf,
    FollowsFrom,
    /// Another type, which is no parent for the UI either.
    Other(String),
}

#[derive(Debug)]
enum ReferencedTrace {
    /// The reference has no trace id; the UI looks for its span in the same trace.
    Same,
    Id(Option<TraceId>),
}

impl TryFrom<ReferenceFields> for InputReference {
    type Error = ParseIdError;

    fn try_from(
        ReferenceFields { ref_type: Text(ref_type), trace_id, span_id: Text(span_id) }: ReferenceFields,
    ) -> Result<Self, ParseIdError> {
        let is_zero = |id: &str| id.bytes().all(|digit| digit == b'0');
        let kind = match ref_type.as_str() {
            "CHILD_OF" => ReferenceType::ChildOf,
            "FOLLOWS_FROM" => ReferenceType::FollowsFrom,
            _ => ReferenceType::Other(ref_type),
        };
        let trace = match trace_id {
            None => ReferencedTrace::Same,
            Some(Text(id)) if is_zero(&id) => ReferencedTrace::Id(None),
            Some(Text(id)) => ReferencedTrace::Id(Some(id.parse()?)),
        };
        let span_id = if is_zero(&span_id) { None } else { Some(span_id.parse()?) };
        Ok(Self { kind, trace, span_id })
    }
}

impl InputReference {
    /// Returns the referenced trace, given the trace of the span.
    fn trace_id(&self, own: TraceId) -> Option<TraceId> {
        match self.trace {
            ReferencedTrace::Same => Some(own),
            ReferencedTrace::Id(id) => id,
        }
    }

    /// Returns the referenced span if it belongs to the trace.
    fn within(&self, trace_id: TraceId) -> Option<SpanId> {
        self.span_id.filter(|_| self.trace_id(trace_id) == Some(trace_id))
    }
}

/// Returns the index of the reference to the parent, and the parent's id: the first CHILD_OF within the trace, or else the
/// first reference if it is a FOLLOWS_FROM within the trace.
pub(super) fn parent(references: &[InputReference], trace_id: TraceId) -> Option<(usize, SpanId)> {
    let of_type = |wanted: ReferenceType| {
        let found = references.iter().enumerate().filter(move |(_, reference)| reference.kind == wanted);
        found.filter_map(|(index, reference)| Some((index, reference.within(trace_id)?)))
    };
    let follows_from = || of_type(ReferenceType::FollowsFrom).next().filter(|(index, _)| *index == 0);
    of_type(ReferenceType::ChildOf).next().or_else(follows_from)
}

/// Returns the links: all references except a CHILD_OF to the parent. If the span only follows from its parent, the link
/// to it is marked so.
pub(super) fn links(
    references: &[InputReference],
    parent: Option<(usize, SpanId)>,
    trace_id: TraceId,
) -> Vec<Link> {
    // As it is written: a CHILD_OF beside others within the trace only names the parent.
    let other_children = references.iter().enumerate().any(|(index, reference)| {
        let is_child = reference.kind == ReferenceType::ChildOf && reference.within(trace_id).is_some();
        is_child && parent.is_some_and(|parent| parent.0 != index)
    });
    let link_of = |(index, reference): (usize, &InputReference)| {
        let is_parent_reference = parent.is_some_and(|parent| parent.0 == index);
        let to_parent = parent.is_some_and(|parent| reference.within(trace_id) == Some(parent.1));
        let mark = match &reference.kind {
            ReferenceType::ChildOf if is_parent_reference => return None,
            ReferenceType::ChildOf => Some("child_of"),
            ReferenceType::FollowsFrom if is_parent_reference || (to_parent && other_children) => {
                Some("follows_from")
            }
            ReferenceType::FollowsFrom => None,
            ReferenceType::Other(kind) => Some(kind.as_str()).filter(|kind| !kind.is_empty()),
        };
        Some(link(reference, trace_id, mark))
    };
    references.iter().enumerate().filter_map(link_of).collect()
}

/// Converts a reference to a link that is marked with an OpenTracing type.
fn link(reference: &InputReference, trace_id: TraceId, mark: Option<&str>) -> Link {
    let attribute = |mark: &str| Attribute {
        key: "opentracing.ref_type".to_owned(),
        value: Value::String(mark.to_owned()),
    };
    Link {
        trace_id: reference.trace_id(trace_id),
        span_id: reference.span_id,
        trace_state: String::new(),
        attributes: mark.map(attribute).into_iter().collect(),
        dropped_attributes: 0,
        flags: 0,
    }
}
