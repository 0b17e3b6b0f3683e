//! A trace as Jaeger's UI reads it, and how OTLP's terms become its.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;
use serde_json::{Value as Json, json};

use crate::span::{self, Attribute, Kind, Link, Resource, Span, SpanId, StatusCode, TraceId, Value};

/// Beyond these a JavaScript number loses digits.
const EXACT: std::ops::RangeInclusive<i64> = -((1 << 53) - 1)..=(1 << 53) - 1;

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Trace {
    #[serde(rename = "traceID")]
    trace_id: String,
    spans: Vec<UiSpan>,
    processes: BTreeMap<String, Process>,
    warnings: Option<Vec<String>>,
}

#[derive(Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
struct UiSpan {
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

#[derive(Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Reference {
    ref_type: &'static str,
    #[serde(rename = "traceID")]
    trace_id: String,
    #[serde(rename = "spanID")]
    span_id: String,
}

#[derive(Debug, PartialEq, Serialize)]
struct Tag {
    key: String,
    #[serde(rename = "type")]
    kind: &'static str,
    value: Json,
}

#[derive(Debug, PartialEq, Serialize)]
struct Log {
    timestamp: u64,
    fields: Vec<Tag>,
}

#[derive(Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Process {
    service_name: String,
    tags: Vec<Tag>,
}

impl From<&span::Trace> for Trace {
    fn from(trace: &span::Trace) -> Self {
        let mut processes = Processes::default();
        let mut spans: Vec<UiSpan> = Vec::with_capacity(trace.spans.len());
        let mut seen = HashSet::new();
        for span in &trace.spans {
            let new = ui_span(span, processes.id(&span.resource));
            // A sender that retries sends a span twice; two different spans under one id both stay.
            if seen.insert(span.span_id) || !spans.contains(&new) {
                spans.push(new);
            }
        }
        let trace_id = trace.id().map(ui_trace_id).unwrap_or_default();
        Self { trace_id, spans, processes: processes.into_table(), warnings: None }
    }
}

/// The distinct resources of a trace, in the order in which they appear.
#[derive(Default)]
struct Processes<'a>(Vec<&'a Arc<Resource>>);

impl<'a> Processes<'a> {
    fn id(&mut self, resource: &'a Arc<Resource>) -> String {
        let same =
            |other: &&Arc<Resource>| Arc::ptr_eq(other, resource) || other.attributes == resource.attributes;
        let index = self.0.iter().position(same).unwrap_or_else(|| {
            self.0.push(resource);
            self.0.len() - 1
        });
        format!("p{}", index + 1)
    }

    fn into_table(self) -> BTreeMap<String, Process> {
        let process = |resource: &Arc<Resource>| Process {
            service_name: resource.service().to_owned(),
            tags: tags(&resource.attributes).into_iter().filter(|tag| tag.key != "service.name").collect(),
        };
        self.0
            .into_iter()
            .enumerate()
            .map(|(index, resource)| (format!("p{}", index + 1), process(resource)))
            .collect()
    }
}

fn ui_span(span: &Span, process_id: String) -> UiSpan {
    UiSpan {
        trace_id: ui_trace_id(span.trace_id),
        span_id: span.span_id.to_string(),
        operation_name: span.name.clone(),
        references: references(span),
        start_time: span.start_ns / 1000,
        duration: span.duration_ns() / 1000,
        tags: span_tags(span),
        logs: span.events.iter().map(log).collect(),
        process_id,
        warnings: None,
    }
}

/// 16 digits where the upper half is zero, as ids were before OpenTelemetry.
fn ui_trace_id(id: TraceId) -> String {
    u64::try_from(id.0).map_or_else(|_| id.to_string(), |short| SpanId(short).to_string())
}

fn references(span: &Span) -> Vec<Reference> {
    let reference = |ref_type, trace_id, span_id: SpanId| Reference {
        ref_type,
        trace_id: ui_trace_id(trace_id),
        span_id: span_id.to_string(),
    };
    let parent = span.parent.map(|parent| reference("CHILD_OF", span.trace_id, parent));
    let link =
        |link: &Link| Some(reference(link_type(link), link.trace_id?, link.span_id.unwrap_or(SpanId(0))));
    parent.into_iter().chain(span.links.iter().filter_map(link)).collect()
}

fn link_type(link: &Link) -> &'static str {
    let is_child = |attribute: &Attribute| {
        attribute.key == "opentracing.ref_type" && attribute.value.as_str() == Some("child_of")
    };
    if link.attributes.iter().any(is_child) { "CHILD_OF" } else { "FOLLOWS_FROM" }
}

/// The order is Jaeger's: scope, attributes by key, kind, status.
fn span_tags(span: &Span) -> Vec<Tag> {
    let mut list = Vec::with_capacity(span.attributes.len() + 6);
    let text = |list: &mut Vec<Tag>, key: &str, value: &str| {
        if !value.is_empty() {
            list.push(string(key, value));
        }
    };
    text(&mut list, "otel.scope.name", &span.scope.name);
    text(&mut list, "otel.scope.version", &span.scope.version);
    list.extend(tags(&span.attributes));
    if span.kind != Kind::Unspecified {
        text(&mut list, "span.kind", span.kind.as_str());
    }
    match span.status.code {
        StatusCode::Unset => {}
        StatusCode::Ok => text(&mut list, "otel.status_code", "OK"),
        StatusCode::Error => {
            text(&mut list, "otel.status_code", "ERROR");
            list.push(Tag { key: "error".to_owned(), kind: "bool", value: Json::Bool(true) });
        }
    }
    text(&mut list, "otel.status_description", &span.status.message);
    text(&mut list, "w3c.tracestate", &span.trace_state);
    list
}

fn log(event: &span::Event) -> Log {
    let name = (!event.name.is_empty()).then(|| string("event", &event.name));
    Log { timestamp: event.time_ns / 1000, fields: name.into_iter().chain(tags(&event.attributes)).collect() }
}

fn tags(attributes: &[Attribute]) -> Vec<Tag> {
    let mut tags: Vec<Tag> = attributes.iter().map(|Attribute { key, value }| tag(key, value)).collect();
    tags.sort_by(|a, b| a.key.cmp(&b.key));
    tags
}

fn string(key: &str, text: &str) -> Tag {
    Tag { key: key.to_owned(), kind: "string", value: Json::String(text.to_owned()) }
}

fn tag(key: &str, value: &Value) -> Tag {
    let (kind, value) = match value {
        Value::Empty => ("string", json!("")),
        Value::String(text) => ("string", json!(text)),
        Value::Bool(flag) => ("bool", json!(flag)),
        Value::Int(number) if EXACT.contains(number) => ("int64", json!(number)),
        Value::Int(number) => ("int64", json!(number.to_string())),
        // JSON has no word for what is not a number, or not finite.
        Value::Double(number) if number.is_finite() => ("float64", json!(number)),
        Value::Double(number) => ("float64", json!(number.to_string())),
        Value::Bytes(bytes) => ("binary", json!(STANDARD.encode(bytes))),
        Value::Array(_) | Value::Map(_) => ("string", Json::String(plain(value).to_string())),
    };
    Tag { key: key.to_owned(), kind, value }
}

/// Lists and maps as the JSON that a person would write.
fn plain(value: &Value) -> Json {
    match value {
        Value::Empty => Json::Null,
        Value::String(text) => json!(text),
        Value::Bool(flag) => json!(flag),
        Value::Int(number) => json!(number),
        Value::Double(number) => json!(number),
        Value::Bytes(bytes) => json!(STANDARD.encode(bytes)),
        Value::Array(list) => list.iter().map(plain).collect(),
        Value::Map(map) => {
            Json::Object(map.iter().map(|item| (item.key.clone(), plain(&item.value))).collect())
        }
    }
}
