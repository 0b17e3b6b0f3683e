//! Converts the types of [`crate::trace`] into OTLP's generated ones, for files and the API.

use std::sync::Arc;

use opentelemetry_proto::tonic::common::v1::any_value::Value as ProtoValue;
use opentelemetry_proto::tonic::common::v1::{
    AnyValue, ArrayValue, EntityRef as ProtoEntityRef, InstrumentationScope, KeyValue, KeyValueList,
};
use opentelemetry_proto::tonic::resource::v1::Resource as ProtoResource;
use opentelemetry_proto::tonic::trace::v1::{
    ResourceSpans, ScopeSpans, Span as ProtoSpan, Status as ProtoStatus, span,
};

use prost::Message as _;

use super::decode;
use crate::trace::{Attribute, EntityRef, Event, Link, Scope, Span, SpanId, Status, Trace, Value};

/// Groups adjacent spans by resource and by scope.
pub(crate) fn resource_spans(trace: &Trace) -> Vec<ResourceSpans> {
    let of_resource = |spans: &[Span]| ResourceSpans {
        resource: Some(ProtoResource {
            attributes: attributes(&spans[0].resource.attributes),
            dropped_attributes_count: spans[0].resource.dropped_attributes,
            entity_refs: spans[0].resource.entity_refs.iter().map(entity_ref).collect(),
        }),
        scope_spans: spans.chunk_by(|a, b| is_same(&a.scope, &b.scope)).map(scope_spans).collect(),
        schema_url: spans[0].resource.schema_url.clone(),
    };
    trace.spans.chunk_by(|a, b| is_same(&a.resource, &b.resource)).map(of_resource).collect()
}

/// Returns the one encoding of the content of an encoded span; `None` if it is malformed.
pub(crate) fn canonical_span(message: &[u8]) -> Option<Vec<u8>> {
    let decoded = decode::span(message, &Arc::default(), &Arc::default()).ok()?;
    Some(span(&decoded).encode_to_vec())
}

/// Returns whether two spans have the same resource or scope. Compares pointers first, since stored spans share them.
fn is_same<T: PartialEq>(a: &Arc<T>, b: &Arc<T>) -> bool {
    Arc::ptr_eq(a, b) || a == b
}

fn scope_spans(spans: &[Span]) -> ScopeSpans {
    let Scope { name, version, attributes: list, dropped_attributes, schema_url } = &*spans[0].scope;
    ScopeSpans {
        scope: Some(InstrumentationScope {
            name: name.clone(),
            version: version.clone(),
            attributes: attributes(list),
            dropped_attributes_count: *dropped_attributes,
        }),
        spans: spans.iter().map(span).collect(),
        schema_url: schema_url.clone(),
    }
}

fn span(span: &Span) -> ProtoSpan {
    let id_bytes = |id: Option<SpanId>| id.map(|SpanId(id)| id.to_be_bytes().to_vec()).unwrap_or_default();
    ProtoSpan {
        trace_id: span.trace_id.0.to_be_bytes().to_vec(),
        span_id: id_bytes(Some(span.span_id)),
        trace_state: span.trace_state.clone(),
        parent_span_id: id_bytes(span.parent),
        flags: span.flags,
        name: span.name.clone(),
        // `Kind` has the same order as OTLP.
        kind: if span.unknown_kind == 0 { span.kind as i32 } else { span.unknown_kind },
        start_time_unix_nano: span.start_ns,
        end_time_unix_nano: span.end_ns,
        attributes: attributes(&span.attributes),
        dropped_attributes_count: span.dropped[0],
        events: span.events.iter().map(event).collect(),
        dropped_events_count: span.dropped[1],
        links: span.links.iter().map(link).collect(),
        dropped_links_count: span.dropped[2],
        status: Some(status(&span.status)),
    }
}

fn status(status: &Status) -> ProtoStatus {
    let code = if status.unknown_code == 0 { status.code as i32 } else { status.unknown_code };
    ProtoStatus { message: status.message.clone(), code }
}

fn entity_ref(EntityRef { schema_url, kind, id_keys, description_keys }: &EntityRef) -> ProtoEntityRef {
    ProtoEntityRef {
        schema_url: schema_url.clone(),
        r#type: kind.clone(),
        id_keys: id_keys.clone(),
        description_keys: description_keys.clone(),
    }
}

fn event(event: &Event) -> span::Event {
    span::Event {
        time_unix_nano: event.time_ns,
        name: event.name.clone(),
        attributes: attributes(&event.attributes),
        dropped_attributes_count: event.dropped_attributes,
    }
}

fn link(link: &Link) -> span::Link {
    span::Link {
        trace_id: link.trace_id.map(|id| id.0.to_be_bytes().to_vec()).unwrap_or_default(),
        span_id: link.span_id.map(|id| id.0.to_be_bytes().to_vec()).unwrap_or_default(),
        trace_state: link.trace_state.clone(),
        attributes: attributes(&link.attributes),
        dropped_attributes_count: link.dropped_attributes,
        flags: link.flags,
    }
}

fn attributes(list: &[Attribute]) -> Vec<KeyValue> {
    let attribute = |Attribute { key, value }: &Attribute| KeyValue {
        key: key.clone(),
        value: any(value),
        key_strindex: 0,
    };
    list.iter().map(attribute).collect()
}

fn any(value: &Value) -> Option<AnyValue> {
    let value = match value {
        Value::Empty => return None,
        Value::String(text) => ProtoValue::StringValue(text.clone()),
        Value::Bool(flag) => ProtoValue::BoolValue(*flag),
        Value::Int(number) => ProtoValue::IntValue(*number),
        Value::Double(number) => ProtoValue::DoubleValue(*number),
        Value::Bytes(bytes) => ProtoValue::BytesValue(bytes.clone()),
        Value::Array(list) => ProtoValue::ArrayValue(ArrayValue {
            values: list.iter().map(|value| any(value).unwrap_or_default()).collect(),
        }),
        Value::Map(map) => ProtoValue::KvlistValue(KeyValueList { values: attributes(map) }),
    };
    Some(AnyValue { value: Some(value) })
}
