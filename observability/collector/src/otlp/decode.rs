//! Converts OTLP's generated types into those of [`crate::trace`], moving all strings.

use std::sync::Arc;

use opentelemetry_proto::tonic::common::v1::any_value::Value as ProtoValue;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::resource::v1::Resource as ProtoResource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, Span as ProtoSpan, Status as ProtoStatus, span};

use crate::trace::{
    Attribute, Event, Kind, Link, Resource, Scope, Span, SpanId, Status, StatusCode, TraceId, Value,
};

/// Converts all spans with valid ids.
pub(super) fn spans(resource_spans: Vec<ResourceSpans>) -> Vec<Span> {
    let mut spans = Vec::new();
    for of_resource in resource_spans {
        let resource = Arc::new(resource(of_resource.resource.unwrap_or_default(), of_resource.schema_url));
        for of_scope in of_resource.scope_spans {
            let scope = Arc::new(scope(of_scope.scope.unwrap_or_default(), of_scope.schema_url));
            spans.extend(of_scope.spans.into_iter().filter_map(|proto| {
                let (id, parent) =
                    (SpanId::from_bytes(&proto.span_id)?, SpanId::from_bytes(&proto.parent_span_id));
                let trace_id = TraceId::from_bytes(&proto.trace_id)?;
                Some(span(proto, (trace_id, id, parent), &resource, &scope))
            }));
        }
    }
    spans
}

/// Converts a span. The ids (trace, span, parent) are separate arguments since the store keeps them outside the encoded span.
pub(crate) fn span(
    proto: ProtoSpan,
    (trace_id, span_id, parent): (TraceId, SpanId, Option<SpanId>),
    resource: &Arc<Resource>,
    scope: &Arc<Scope>,
) -> Span {
    Span {
        trace_id,
        span_id,
        parent,
        name: proto.name,
        kind: kind(proto.kind),
        start_ns: proto.start_time_unix_nano,
        end_ns: proto.end_time_unix_nano,
        attributes: attributes(proto.attributes),
        events: proto.events.into_iter().map(event).collect(),
        links: proto.links.into_iter().map(link).collect(),
        status: proto.status.map(status).unwrap_or_default(),
        trace_state: proto.trace_state,
        flags: proto.flags,
        dropped: [proto.dropped_attributes_count, proto.dropped_events_count, proto.dropped_links_count],
        resource: Arc::clone(resource),
        scope: Arc::clone(scope),
    }
}

/// Converts a resource.
pub(crate) fn resource(proto: ProtoResource, schema_url: String) -> Resource {
    Resource {
        attributes: attributes(proto.attributes),
        dropped_attributes: proto.dropped_attributes_count,
        schema_url,
    }
}

/// Converts a scope.
pub(crate) fn scope(proto: InstrumentationScope, schema_url: String) -> Scope {
    Scope {
        name: proto.name,
        version: proto.version,
        attributes: attributes(proto.attributes),
        dropped_attributes: proto.dropped_attributes_count,
        schema_url,
    }
}

/// Converts a span kind; unknown numbers become unspecified.
pub(crate) fn kind(number: i32) -> Kind {
    match number {
        1 => Kind::Internal,
        2 => Kind::Server,
        3 => Kind::Client,
        4 => Kind::Producer,
        5 => Kind::Consumer,
        _ => Kind::Unspecified,
    }
}

fn status(proto: ProtoStatus) -> Status {
    Status { code: status_code(proto.code), message: proto.message }
}

/// Converts a status code; unknown numbers become unset.
pub(crate) fn status_code(number: i32) -> StatusCode {
    match number {
        1 => StatusCode::Ok,
        2 => StatusCode::Error,
        _ => StatusCode::Unset,
    }
}

fn event(proto: span::Event) -> Event {
    Event {
        time_ns: proto.time_unix_nano,
        name: proto.name,
        attributes: attributes(proto.attributes),
        dropped_attributes: proto.dropped_attributes_count,
    }
}

fn link(proto: span::Link) -> Link {
    Link {
        trace_id: TraceId::from_bytes(&proto.trace_id),
        span_id: SpanId::from_bytes(&proto.span_id),
        trace_state: proto.trace_state,
        attributes: attributes(proto.attributes),
        dropped_attributes: proto.dropped_attributes_count,
        flags: proto.flags,
    }
}

/// Converts attributes.
pub(crate) fn attributes(proto: Vec<KeyValue>) -> Vec<Attribute> {
    let attribute = |KeyValue { key, value: any, .. }| Attribute { key, value: value(any) };
    proto.into_iter().map(attribute).collect()
}

fn value(any: Option<AnyValue>) -> Value {
    match any.and_then(|any| any.value) {
        // An index into a string table, which exists only in profiles.
        None | Some(ProtoValue::StringValueStrindex(_)) => Value::Empty,
        Some(ProtoValue::StringValue(text)) => Value::String(text),
        Some(ProtoValue::BoolValue(flag)) => Value::Bool(flag),
        Some(ProtoValue::IntValue(number)) => Value::Int(number),
        Some(ProtoValue::DoubleValue(number)) => Value::Double(number),
        Some(ProtoValue::BytesValue(bytes)) => Value::Bytes(bytes),
        Some(ProtoValue::ArrayValue(list)) => {
            Value::Array(list.values.into_iter().map(|any| value(Some(any))).collect())
        }
        Some(ProtoValue::KvlistValue(map)) => Value::Map(attributes(map.values)),
    }
}
