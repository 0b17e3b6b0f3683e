//! The same model in protobuf, for version 2 of the gRPC API. Times have nanoseconds, and each span its own process.

use std::collections::HashMap;
use std::sync::Arc;

use prost_types::{Duration, Timestamp};

use super::process::process;
use super::value::{Tag, TagValue};
use super::{CHILD_OF, Reference, log, references, span_tags, warnings};
use crate::query::jaeger::protocol::api_v2::{KeyValue, Log, Process, Span, SpanRef, SpanRefType, ValueType};
use crate::trace::{self, Event, Resource, SpanId, Trace, TraceId};

const SECOND_NS: u64 = 1_000_000_000;

pub(in crate::query::jaeger) fn spans(trace: &Trace) -> impl Iterator<Item = Span> {
    let mut processes: HashMap<*const Resource, Process> = HashMap::new();
    trace.spans.iter().map(move |span| {
        let process =
            processes.entry(Arc::as_ptr(&span.resource)).or_insert_with(|| of_resource(&span.resource));
        converted(span, process.clone())
    })
}

fn converted(span: &trace::Span, process: Process) -> Span {
    Span {
        trace_id: trace_id_bytes(span.trace_id),
        span_id: span_id_bytes(span.span_id),
        operation_name: span.name.clone(),
        references: references(span).into_iter().map(reference).collect(),
        flags: 0,
        start_time: Some(timestamp(span.start_ns)),
        duration: Some(duration(span.end_ns.wrapping_sub(span.start_ns))),
        tags: key_values(span_tags(span)),
        logs: span.events.iter().map(of_event).collect(),
        process: Some(process),
        process_id: String::new(),
        warnings: warnings(span).unwrap_or_default(),
    }
}

fn of_resource(resource: &Resource) -> Process {
    let process = process(resource);
    Process { service_name: process.service_name, tags: key_values(process.tags) }
}

fn of_event(event: &Event) -> Log {
    Log { timestamp: Some(timestamp(event.time_ns)), fields: key_values(log(event).fields) }
}

fn reference(Reference { ref_type, trace_id, span_id }: Reference) -> SpanRef {
    let ref_type = if ref_type == CHILD_OF { SpanRefType::ChildOf } else { SpanRefType::FollowsFrom };
    SpanRef { trace_id: trace_id_bytes(trace_id), span_id: span_id_bytes(span_id), ref_type: ref_type.into() }
}

fn key_values(tags: Vec<Tag>) -> Vec<KeyValue> {
    tags.into_iter().map(key_value).collect()
}

fn key_value(Tag { key, value }: Tag) -> KeyValue {
    let typed = |v_type: ValueType| KeyValue { v_type: v_type.into(), ..KeyValue::default() };
    let value = match value {
        TagValue::String(v_str) => KeyValue { v_str, ..typed(ValueType::String) },
        TagValue::Bool(v_bool) => KeyValue { v_bool, ..typed(ValueType::Bool) },
        TagValue::Int64(v_int64) => KeyValue { v_int64, ..typed(ValueType::Int64) },
        TagValue::Float64(v_float64) => KeyValue { v_float64, ..typed(ValueType::Float64) },
        TagValue::Binary(v_binary) => KeyValue { v_binary, ..typed(ValueType::Binary) },
    };
    KeyValue { key, ..value }
}

pub(in crate::query::jaeger) fn trace_id_bytes(TraceId(id): TraceId) -> Vec<u8> {
    id.to_be_bytes().to_vec()
}

fn span_id_bytes(SpanId(id): SpanId) -> Vec<u8> {
    id.to_be_bytes().to_vec()
}

pub(in crate::query::jaeger) fn timestamp(ns: u64) -> Timestamp {
    Timestamp { seconds: (ns / SECOND_NS) as i64, nanos: (ns % SECOND_NS) as i32 }
}

fn duration(ns: u64) -> Duration {
    Duration { seconds: (ns / SECOND_NS) as i64, nanos: (ns % SECOND_NS) as i32 }
}
