//! Spans for the tests of all modules, so that each test states only the fields it is about.

use std::sync::Arc;

use opentelemetry_proto::tonic::common::v1::any_value::Value as ProtoValue;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::resource::v1::Resource as ProtoResource;
use opentelemetry_proto::tonic::trace::v1::Span as ProtoSpan;

use crate::trace::{Attribute, Kind, Span, SpanId, Status, TraceId, Value};

/// Returns a span of trace 1 from `(id, parent, start, end)`; parent 0 makes it a root.
pub(crate) fn span((id, parent, start_ns, end_ns): (u64, u64, u64, u64)) -> Span {
    Span {
        trace_id: TraceId(1),
        span_id: SpanId(id),
        parent: (parent != 0).then_some(SpanId(parent)),
        name: format!("operation {id}"),
        kind: Kind::Internal,
        unknown_kind: 0,
        start_ns,
        end_ns,
        attributes: Vec::new(),
        events: Vec::new(),
        links: Vec::new(),
        status: Status::default(),
        trace_state: String::new(),
        flags: 1,
        dropped: [0; 3],
        resource: Arc::default(),
        scope: Arc::default(),
    }
}

/// Returns an attribute.
pub(crate) fn attribute(key: &str, value: Value) -> Attribute {
    Attribute { key: key.to_owned(), value }
}

/// Returns a span in OTLP's generated type, with ids and nothing else.
pub(crate) fn proto_span(trace_id: u128, span_id: u64) -> ProtoSpan {
    ProtoSpan {
        trace_id: trace_id.to_be_bytes().to_vec(),
        span_id: span_id.to_be_bytes().to_vec(),
        ..ProtoSpan::default()
    }
}

/// Returns an attribute in OTLP's generated type.
pub(crate) fn proto_attribute(key: &str, value: ProtoValue) -> KeyValue {
    KeyValue { key: key.to_owned(), value: Some(AnyValue { value: Some(value) }), key_strindex: 0 }
}

/// Returns a text value in OTLP's generated type.
pub(crate) fn proto_text(text: &str) -> ProtoValue {
    ProtoValue::StringValue(text.to_owned())
}

/// Returns a resource with this `service.name`, in OTLP's generated type.
pub(crate) fn proto_resource(service: &str) -> ProtoResource {
    let attributes = vec![proto_attribute("service.name", proto_text(service))];
    ProtoResource { attributes, ..ProtoResource::default() }
}
