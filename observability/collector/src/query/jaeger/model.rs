//! The JSON of a trace for Jaeger's UI, converted from OTLP.

mod process;
mod value;
pub(super) mod protobuf;

use std::collections::BTreeMap;

use serde::{Serialize, Serializer};

use super::adjust::WARNINGS;
use crate::trace::{self, Kind, Link, Span, SpanId, StatusCode, TraceId};

use process::{Process, Processes};
use value::{Tag, flag, string, tags, texts};

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct TraceJson {
    #[serde(rename = "traceID")]
    trace_id: String,
    spans: Vec<SpanJson>,
    processes: BTreeMap<String, Process>,
    warnings: Option<Vec<String>>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct SpanJson {
    #[serde(rename = "traceID")]
    trace_id: String,
    #[serde(rename = "spanID")]
    span_id: String,
    operation_name: String,
    references: Vec<Reference>,
    /// Microseconds since the epoch.
    start_time: u64,
    /// Microseconds.
    duration: u64,
    tags: Vec<Tag>,
    logs: Vec<Log>,
    #[serde(rename = "processID")]
    process_id: String,
    warnings: Option<Vec<String>>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Reference {
    ref_type: &'static str,
    #[serde(rename = "traceID", serialize_with = "serialize_trace_id")]
    trace_id: TraceId,
    #[serde(rename = "spanID")]
    span_id: SpanId,
}

#[derive(Debug, Serialize)]
struct Log {
    /// Microseconds since the epoch.
    timestamp: u64,
    fields: Vec<Tag>,
}

impl From<&trace::Trace> for TraceJson {
    fn from(trace: &trace::Trace) -> Self {
        let mut processes = Processes::default();
        let spans = trace.spans.iter().map(|span| span_json(span, processes.id(&span.resource))).collect();
        let trace_id = trace.id().map(ui_trace_id).unwrap_or_default();
        Self { trace_id, spans, processes: processes.into_table(), warnings: None }
    }
}

/// Formats an id with 32 digits, or with 16 if its upper half is zero, as ids were before OpenTelemetry.
pub(super) fn ui_trace_id(id: TraceId) -> String {
    u64::try_from(id.0).map_or_else(|_| id.to_string(), |short| SpanId(short).to_string())
}

fn serialize_trace_id<S: Serializer>(id: &TraceId, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&ui_trace_id(*id))
}

fn span_json(span: &Span, process_id: String) -> SpanJson {
    SpanJson {
        trace_id: ui_trace_id(span.trace_id),
        span_id: span.span_id.to_string(),
        operation_name: span.name.clone(),
        references: references(span),
        start_time: span.start_ns / 1000,
        // Plain subtraction, as in Jaeger, after its sanitizer.
        duration: span.end_ns.wrapping_sub(span.start_ns) / 1000,
        tags: span_tags(span),
        logs: span.events.iter().map(log).collect(),
        process_id,
        warnings: warnings(span),
    }
}

/// Returns the references of a span, the parent first.
///
/// A link to the parent yields no reference of its own. Unlike Jaeger, which would write FOLLOWS_FROM for it, the reference
/// to the parent stays a CHILD_OF, so that the trace keeps one root for clients that read only those; unless the link is
/// marked as `follows_from`. If another link is a CHILD_OF within the trace, a CHILD_OF to the parent precedes it, because
/// Jaeger takes the first CHILD_OF for the parent.
fn references(span: &Span) -> Vec<Reference> {
    let reference = |ref_type, trace_id, span_id| Reference { ref_type, trace_id, span_id };
    let is_within = |link: &Link| link.span_id.is_some() && link.trace_id == Some(span.trace_id);
    let (to_parent, others): (Vec<&Link>, Vec<&Link>) =
        span.links.iter().partition(|link| is_within(link) && link.span_id == span.parent);
    let mut types = vec![to_parent.last().map_or(CHILD_OF, |link| parent_type(link))];
    if types != [CHILD_OF] && others.iter().any(|link| is_within(link) && link_type(link) == CHILD_OF) {
        types.insert(0, CHILD_OF);
    }
    let parent = span
        .parent
        .into_iter()
        .flat_map(|parent| types.iter().map(move |ref_type| reference(ref_type, span.trace_id, parent)));
    let links = others.iter().map(|link| {
        let (trace_id, span_id) = (link.trace_id.unwrap_or(TraceId(0)), link.span_id.unwrap_or(SpanId(0)));
        reference(link_type(link), trace_id, span_id)
    });
    parent.chain(links).collect()
}

const CHILD_OF: &str = "CHILD_OF";

const FOLLOWS_FROM: &str = "FOLLOWS_FROM";

/// Returns the type of a reference to a linked span.
fn link_type(link: &Link) -> &'static str {
    if opentracing_type(link) == Some("child_of") { CHILD_OF } else { FOLLOWS_FROM }
}

/// Returns the type of the reference to the parent, given a link to it.
fn parent_type(link: &Link) -> &'static str {
    if opentracing_type(link) == Some("follows_from") { FOLLOWS_FROM } else { CHILD_OF }
}

/// Returns the attribute in which bridges from OpenTracing keep the type of a reference.
fn opentracing_type(link: &Link) -> Option<&str> {
    let mut attributes = link.attributes.iter();
    attributes.find(|attribute| attribute.key == "opentracing.ref_type")?.value.as_str()
}

/// Returns the tags of a span in Jaeger's order: scope, attributes, kind, status.
fn span_tags(span: &Span) -> Vec<Tag> {
    let mut list = Vec::with_capacity(span.attributes.len() + 6);
    let text = |list: &mut Vec<Tag>, key: &str, value: &str| {
        if !value.is_empty() {
            list.push(string(key, value));
        }
    };
    text(&mut list, "otel.scope.name", &span.scope.name);
    text(&mut list, "otel.scope.version", &span.scope.version);
    list.extend(tags(span.attributes.iter().filter(|attribute| attribute.key != WARNINGS)));
    if span.kind != Kind::Unspecified {
        text(&mut list, "span.kind", span.kind.as_str());
    }
    match span.status.code {
        StatusCode::Unset => {}
        StatusCode::Ok => text(&mut list, "otel.status_code", "OK"),
        StatusCode::Error => {
            text(&mut list, "otel.status_code", "ERROR");
            list.push(flag("error"));
        }
    }
    text(&mut list, "otel.status_description", &span.status.message);
    text(&mut list, "w3c.tracestate", &span.trace_state);
    list
}

/// Returns the warnings of a span. As in Jaeger, the attribute may have any type.
fn warnings(span: &Span) -> Option<Vec<String>> {
    let values = span.attributes.iter().filter(|attribute| attribute.key == WARNINGS);
    let list: Vec<String> = values.flat_map(|attribute| texts(&attribute.value)).collect();
    (!list.is_empty()).then_some(list)
}

/// Returns the log of an event, with the event's name as field `event` unless it has an attribute of that key.
fn log(event: &trace::Event) -> Log {
    let is_unnamed =
        event.name.is_empty() || event.attributes.iter().any(|attribute| attribute.key == "event");
    let name = (!is_unnamed).then(|| string("event", &event.name));
    Log { timestamp: event.time_ns / 1000, fields: name.into_iter().chain(tags(&event.attributes)).collect() }
}

#[cfg(test)]
mod tests;
