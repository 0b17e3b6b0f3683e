//! Converts the fields of a trace with its processes, spans and logs into OTLP's terms.

use std::collections::HashMap;
use std::sync::Arc;

use super::UiTrace;
use super::input::{InputLog, InputProcess, InputSpan, InputTrace, LogFields};
use super::lenient::{Text, TimeOutOfRange};
use super::list::BoundedList;
use super::reference;
use super::reserved;
use super::tag::InputTag;
use crate::query::jaeger::adjust::WARNINGS;
use crate::trace::{self, Attribute, Event, Resource, Scope, SpanId, TraceId, Value};

/// A span belongs to another trace than the first span.
#[derive(Debug, thiserror::Error)]
#[error("span {span_id} belongs to trace {trace_id}, but the first span to trace {first}")]
pub(super) struct OtherTrace {
    span_id: SpanId,
    trace_id: TraceId,
    first: TraceId,
}

impl TryFrom<InputTrace> for UiTrace {
    type Error = OtherTrace;

    fn try_from(InputTrace { spans, processes }: InputTrace) -> Result<Self, OtherTrace> {
        let processes = processes.into_iter();
        let mut processes: Processes =
            processes.map(|(id, of)| (id, Arc::new(resource(of.unwrap_or_default())))).collect();
        let mut scopes = HashMap::new();
        let first = spans.first().map(|span| span.trace_id);
        let parse = |span: InputSpan| {
            let InputSpan { span_id, trace_id, .. } = span;
            match first.filter(|first| *first != trace_id) {
                Some(first) => Err(OtherTrace { span_id, trace_id, first }),
                None => Ok(parse_span(span, &mut processes, &mut scopes)),
            }
        };
        let spans = spans.into_iter().map(parse).collect::<Result<_, _>>()?;
        Ok(Self(trace::Trace { spans }))
    }
}

/// Resources by process id. A missing process has no attributes; it is added, so that its spans share it.
type Processes = HashMap<String, Arc<Resource>>;

fn resource(InputProcess { service_name, tags }: InputProcess) -> Resource {
    let name = service_name
        .map(|Text(name)| Attribute { key: "service.name".to_owned(), value: Value::String(name) });
    let rest = attributes(tags).into_iter().filter(|tag| tag.key != "service.name");
    Resource { attributes: name.into_iter().chain(rest).collect(), ..Resource::default() }
}

/// Scopes by name and version: spans of one library share a scope.
type Scopes = HashMap<(String, String), Arc<Scope>>;

fn parse_span(
    InputSpan { trace_id, span_id, start_ns, end_ns, rest: fields }: InputSpan,
    processes: &mut Processes,
    scopes: &mut Scopes,
) -> trace::Span {
    let resource = match fields.process {
        Some(process) => Arc::new(resource(process)),
        None => Arc::clone(processes.entry(fields.process_id.0).or_default()),
    };
    let mut attributes = attributes(fields.tags);
    let (name, version) = reserved::scope(&mut attributes);
    let scope = scopes.entry((name, version)).or_insert_with_key(|(name, version)| {
        Arc::new(Scope { name: name.clone(), version: version.clone(), ..Scope::default() })
    });
    let references = fields.references.0;
    let parent = reference::parent(&references, trace_id);
    trace::Span {
        trace_id,
        span_id,
        parent: parent.map(|(_, id)| id).or(fields.parent.filter(|_| references.is_empty())),
        name: fields.operation_name.0,
        start_ns,
        end_ns,
        kind: reserved::kind(&mut attributes),
        unknown_kind: 0,
        status: reserved::status(&mut attributes),
        trace_state: reserved::trace_state(&mut attributes),
        attributes: with_warnings(attributes, fields.warnings),
        events: fields.logs.0.into_iter().map(|InputLog(event)| event).collect(),
        links: reference::links(&references, parent, trace_id),
        flags: 0,
        dropped: [0; 3],
        resource,
        scope: Arc::clone(scope),
    }
}

fn with_warnings(mut attributes: Vec<Attribute>, BoundedList(warnings): BoundedList<Text>) -> Vec<Attribute> {
    if !warnings.is_empty() {
        let list = warnings.into_iter().map(|Text(warning)| Value::String(warning)).collect();
        attributes.push(Attribute { key: WARNINGS.to_owned(), value: Value::Array(list) });
    }
    attributes
}

impl TryFrom<LogFields> for InputLog {
    type Error = TimeOutOfRange;

    fn try_from(LogFields { timestamp, fields }: LogFields) -> Result<Self, TimeOutOfRange> {
        let mut attributes = attributes(fields);
        let name = reserved::event_name(&mut attributes);
        Ok(Self(Event { time_ns: timestamp.since_epoch()?, name, attributes, dropped_attributes: 0 }))
    }
}

fn attributes(BoundedList(tags): BoundedList<InputTag>) -> Vec<Attribute> {
    tags.into_iter().map(|InputTag(attribute)| attribute).collect()
}
