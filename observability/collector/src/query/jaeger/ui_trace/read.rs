//! The trace, its processes, spans and logs, from the UI's terms into OTLP's.

use std::collections::HashMap;
use std::sync::Arc;

use serde::Deserialize;

use super::UiTrace;
use super::list::List;
use super::reference::{self, Reference};
use super::reserved;
use super::tag::Tag;
use crate::query::jaeger::model::WARNINGS;
use crate::trace::{self, Attribute, Event, Resource, Scope, SpanId, TraceId, Value};

/// What is read of a trace.
#[derive(Deserialize)]
pub(super) struct Trace {
    spans: Vec<Span>,
    processes: Option<HashMap<String, Process>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Process {
    service_name: String,
    #[serde(default)]
    tags: List<Tag>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Span {
    #[serde(rename = "traceID")]
    trace_id: TraceId,
    #[serde(rename = "spanID")]
    span_id: SpanId,
    operation_name: String,
    #[serde(default)]
    references: List<Reference>,
    /// Microseconds since the epoch.
    start_time: u64,
    /// Microseconds.
    duration: u64,
    #[serde(default)]
    tags: List<Tag>,
    #[serde(default)]
    logs: List<Log>,
    #[serde(rename = "processID")]
    process_id: String,
    #[serde(default)]
    warnings: List<String>,
}

/// Becomes an event while it is read: a file may have millions.
#[derive(Deserialize)]
#[serde(try_from = "UiLog")]
struct Log(Event);

#[derive(Deserialize)]
struct UiLog {
    /// Microseconds since the epoch.
    timestamp: u64,
    #[serde(default)]
    fields: List<Tag>,
}

/// What is JSON, and no trace.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unreadable {
    #[error("{0} µs lie beyond the year 2554, where nanoseconds end")]
    Time(u64),
    #[error("span {0} is of trace {1}, and those before it are of trace {2}")]
    Stray(SpanId, TraceId, TraceId),
    #[error("span {0} names process {1:?}, which is not there")]
    Process(SpanId, String),
}

impl TryFrom<Trace> for UiTrace {
    type Error = Unreadable;

    fn try_from(Trace { spans, processes }: Trace) -> Result<Self, Unreadable> {
        let processes = processes.unwrap_or_default().into_iter();
        let processes: HashMap<_, _> = processes.map(|(id, of)| (id, Arc::new(resource(of)))).collect();
        let mut scopes = HashMap::new();
        let first = spans.first().map(|span| span.trace_id);
        let read = |span: Span| {
            if let Some(first) = first.filter(|first| *first != span.trace_id) {
                return Err(Unreadable::Stray(span.span_id, span.trace_id, first));
            }
            let resource = processes.get(&span.process_id).map(Arc::clone);
            let resource =
                resource.ok_or_else(|| Unreadable::Process(span.span_id, span.process_id.clone()))?;
            read_span(span, resource, &mut scopes)
        };
        let spans = spans.into_iter().map(read).collect::<Result<_, _>>()?;
        Ok(Self(trace::Trace { spans }))
    }
}

fn resource(Process { service_name, tags }: Process) -> Resource {
    let name = Attribute { key: "service.name".to_owned(), value: Value::String(service_name) };
    let rest = attributes(tags).into_iter().filter(|tag| tag.key != "service.name");
    Resource { attributes: std::iter::once(name).chain(rest).collect(), ..Resource::default() }
}

/// Spans of one library share its scope, and so their envelope when they are written.
type Scopes = HashMap<(String, String), Arc<Scope>>;

fn read_span(span: Span, resource: Arc<Resource>, scopes: &mut Scopes) -> Result<trace::Span, Unreadable> {
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
        end_ns: end_ns.ok_or(Unreadable::Time(span.duration))?,
        kind: reserved::kind(&mut attributes),
        status: reserved::status(&mut attributes),
        trace_state: reserved::trace_state(&mut attributes),
        attributes: with_warnings(attributes, span.warnings),
        events: span.logs.0.into_iter().map(|Log(event)| event).collect(),
        links: reference::links(references, parent.map(|(index, _)| index)),
        flags: 0,
        dropped: [0; 3],
        resource,
        scope: Arc::clone(scope),
    })
}

fn with_warnings(mut attributes: Vec<Attribute>, List(warnings): List<String>) -> Vec<Attribute> {
    if !warnings.is_empty() {
        let list = warnings.into_iter().map(Value::String).collect();
        attributes.push(Attribute { key: WARNINGS.to_owned(), value: Value::Array(list) });
    }
    attributes
}

impl TryFrom<UiLog> for Log {
    type Error = Unreadable;

    fn try_from(UiLog { timestamp, fields }: UiLog) -> Result<Self, Unreadable> {
        let mut attributes = attributes(fields);
        let name = reserved::event_name(&mut attributes);
        Ok(Self(Event { time_ns: nanoseconds(timestamp)?, name, attributes, dropped_attributes: 0 }))
    }
}

fn nanoseconds(microseconds: u64) -> Result<u64, Unreadable> {
    microseconds.checked_mul(1000).ok_or(Unreadable::Time(microseconds))
}

fn attributes(List(tags): List<Tag>) -> Vec<Attribute> {
    tags.into_iter().map(|Tag(attribute)| attribute).collect()
}
