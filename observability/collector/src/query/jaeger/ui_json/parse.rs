//! Parses a trace with its processes, spans and logs into OTLP's terms.

use std::collections::HashMap;
use std::sync::Arc;

use serde::Deserialize;

use super::UiTrace;
use super::list::BoundedList;
use super::reference::{self, InputReference};
use super::reserved;
use super::tag::InputTag;
use crate::query::jaeger::model::WARNINGS;
use crate::trace::{self, Attribute, Event, Resource, Scope, SpanId, TraceId, Value};

/// The fields of a trace that are used.
#[derive(Deserialize)]
pub(super) struct InputTrace {
    spans: Vec<InputSpan>,
    processes: Option<HashMap<String, InputProcess>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct InputProcess {
    service_name: String,
    #[serde(default)]
    tags: BoundedList<InputTag>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct InputSpan {
    #[serde(rename = "traceID")]
    trace_id: TraceId,
    #[serde(rename = "spanID")]
    span_id: SpanId,
    operation_name: String,
    #[serde(default)]
    references: BoundedList<InputReference>,
    /// Microseconds since the epoch.
    start_time: u64,
    /// Microseconds.
    duration: u64,
    #[serde(default)]
    tags: BoundedList<InputTag>,
    #[serde(default)]
    logs: BoundedList<InputLog>,
    #[serde(rename = "processID")]
    process_id: String,
    #[serde(default)]
    warnings: BoundedList<String>,
}

/// Converted while it is parsed: a file may have millions of logs.
#[derive(Deserialize)]
#[serde(try_from = "InputLogFields")]
struct InputLog(Event);

#[derive(Deserialize)]
struct InputLogFields {
    /// Microseconds since the epoch.
    timestamp: u64,
    #[serde(default)]
    fields: BoundedList<InputTag>,
}

/// An error in the JSON of a trace.
#[derive(Debug, thiserror::Error)]
pub(super) enum ParseTraceError {
    #[error("{0} µs exceed the range of nanosecond timestamps, which ends in the year 2554")]
    Time(u64),
    #[error("span {0} belongs to trace {1}, but the first span to trace {2}")]
    OtherTrace(SpanId, TraceId, TraceId),
    #[error("span {0} refers to process {1:?}, which is missing")]
    Process(SpanId, String),
}

impl TryFrom<InputTrace> for UiTrace {
    type Error = ParseTraceError;

    fn try_from(InputTrace { spans, processes }: InputTrace) -> Result<Self, ParseTraceError> {
        let processes = processes.unwrap_or_default().into_iter();
        let processes: HashMap<_, _> = processes.map(|(id, of)| (id, Arc::new(resource(of)))).collect();
        let mut scopes = HashMap::new();
        let first = spans.first().map(|span| span.trace_id);
        let parse = |span: InputSpan| {
            if let Some(first) = first.filter(|first| *first != span.trace_id) {
                return Err(ParseTraceError::OtherTrace(span.span_id, span.trace_id, first));
            }
            let resource = processes.get(&span.process_id).map(Arc::clone);
            let resource =
                resource.ok_or_else(|| ParseTraceError::Process(span.span_id, span.process_id.clone()))?;
            parse_span(span, resource, &mut scopes)
        };
        let spans = spans.into_iter().map(parse).collect::<Result<_, _>>()?;
        Ok(Self(trace::Trace { spans }))
    }
}

fn resource(InputProcess { service_name, tags }: InputProcess) -> Resource {
    let name = Attribute { key: "service.name".to_owned(), value: Value::String(service_name) };
    let rest = attributes(tags).into_iter().filter(|tag| tag.key != "service.name");
    Resource { attributes: std::iter::once(name).chain(rest).collect(), ..Resource::default() }
}

/// Scopes by name and version: spans of one library share a scope.
type Scopes = HashMap<(String, String), Arc<Scope>>;

fn parse_span(
    span: InputSpan,
    resource: Arc<Resource>,
    scopes: &mut Scopes,
) -> Result<trace::Span, ParseTraceError> {
    let mut attributes = attributes(span.tags);
    let (name, version) = reserved::scope(&mut attributes);
    let scope = scopes.entry((name, version)).or_insert_with_key(|(name, version)| {
        Arc::new(Scope { name: name.clone(), version: version.clone(), ..Scope::default() })
    });
    let references = span.references.0;
    let parent = reference::parent(&references, span.trace_id);
    let start_ns = nanoseconds(span.start_time)?;
    let end_ns = start_ns.checked_add(nanoseconds(span.duration)?);
    Ok(trace::Span {
        trace_id: span.trace_id,
        span_id: span.span_id,
        parent: parent.map(|(_, id)| id),
        name: span.operation_name,
        start_ns,
        end_ns: end_ns.ok_or(ParseTraceError::Time(span.duration))?,
        kind: reserved::kind(&mut attributes),
        status: reserved::status(&mut attributes),
        trace_state: reserved::trace_state(&mut attributes),
        attributes: with_warnings(attributes, span.warnings),
        events: span.logs.0.into_iter().map(|InputLog(event)| event).collect(),
        links: reference::links(references, parent.map(|(index, _)| index)),
        flags: 0,
        dropped: [0; 3],
        resource,
        scope: Arc::clone(scope),
    })
}

fn with_warnings(
    mut attributes: Vec<Attribute>,
    BoundedList(warnings): BoundedList<String>,
) -> Vec<Attribute> {
    if !warnings.is_empty() {
        let list = warnings.into_iter().map(Value::String).collect();
        attributes.push(Attribute { key: WARNINGS.to_owned(), value: Value::Array(list) });
    }
    attributes
}

impl TryFrom<InputLogFields> for InputLog {
    type Error = ParseTraceError;

    fn try_from(InputLogFields { timestamp, fields }: InputLogFields) -> Result<Self, ParseTraceError> {
        let mut attributes = attributes(fields);
        let name = reserved::event_name(&mut attributes);
        Ok(Self(Event { time_ns: nanoseconds(timestamp)?, name, attributes, dropped_attributes: 0 }))
    }
}

fn nanoseconds(microseconds: u64) -> Result<u64, ParseTraceError> {
    microseconds.checked_mul(1000).ok_or(ParseTraceError::Time(microseconds))
}

fn attributes(BoundedList(tags): BoundedList<InputTag>) -> Vec<Attribute> {
    tags.into_iter().map(|InputTag(attribute)| attribute).collect()
}
