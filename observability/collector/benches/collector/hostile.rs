//! Messages designed to exhaust a receiver's memory.

use bytes::Bytes;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use prost::Message as _;
use prost::encoding::{WireType, encode_key, encode_varint};

type Messages = dyn ExactSizeIterator<Item = Bytes>;

const PER_MESSAGE: usize = 500;

/// All spans belong to one trace.
pub(crate) fn one_trace(spans: usize) -> Box<Messages> {
    batches(spans, |number| ("shop".to_owned(), Span { trace_id: vec![7; 16], ..span(number) }))
}

/// Each span is a trace of its own; `spans` of them per message.
pub(crate) fn traces(messages: usize, spans: usize) -> Box<Messages> {
    let message = move |first: usize| {
        // Encoded one by one: all at once would take more memory than is measured.
        let spans = (first * spans..(first + 1) * spans).map(span);
        let scope_spans = spans.fold(Vec::new(), |mut encoded, span| {
            encoded.extend(wrapped(2, &span.encode_to_vec()));
            encoded
        });
        Bytes::from(wrapped(1, &wrapped(2, &scope_spans)))
    };
    Box::new((0..messages).map(message))
}

pub(crate) fn services(count: usize) -> Box<Messages> {
    batches(count, |number| (format!("service {number}"), span(number)))
}

pub(crate) fn operations(count: usize) -> Box<Messages> {
    let named = |number| Span { name: format!("operation {number}"), ..span(number) };
    batches(count, move |number| ("shop".to_owned(), named(number)))
}

pub(crate) fn long_attributes(count: usize) -> Box<Messages> {
    let long = |number| {
        let value = Value::StringValue("x".repeat(10 << 20));
        let span = Span { attributes: vec![attribute(value)], ..span(number) };
        message([("shop".to_owned(), span)])
    };
    Box::new((0..count).map(long))
}

/// Encoded by hand, since prost's encoder would overflow the stack.
pub(crate) fn deep(count: usize) -> Box<Messages> {
    let mut value = Vec::new();
    for _ in 0..1000 {
        let list = wrapped(1, &value);
        value = wrapped(5, &list);
    }
    let attribute = [wrapped(1, b"deep"), wrapped(2, &value)].concat();
    let made = move |number| {
        let span = [span(number).encode_to_vec(), wrapped(9, &attribute)].concat();
        let spans = wrapped(2, &span).repeat(100);
        Bytes::from(wrapped(1, &wrapped(2, &spans)))
    };
    Box::new((0..count).map(made))
}

/// Two bytes per span on the wire, about 300 decoded.
pub(crate) fn empty_spans(count: usize) -> Box<Messages> {
    let message = Bytes::from(wrapped(1, &wrapped(2, &wrapped(2, b"").repeat(7 << 20))));
    Box::new((0..count).map(move |_| message.clone()))
}

fn batches(count: usize, make: impl Fn(usize) -> (String, Span) + 'static) -> Box<Messages> {
    let batch = move |number: usize| {
        message((number * PER_MESSAGE..count.min((number + 1) * PER_MESSAGE)).map(&make))
    };
    Box::new((0..count.div_ceil(PER_MESSAGE)).map(batch))
}

fn message(spans: impl IntoIterator<Item = (String, Span)>) -> Bytes {
    let of_service = |(service, span): (String, Span)| ResourceSpans {
        resource: Some(Resource {
            attributes: vec![KeyValue {
                key: "service.name".to_owned(),
                ..attribute(Value::StringValue(service))
            }],
            ..Resource::default()
        }),
        scope_spans: vec![ScopeSpans { spans: vec![span], ..ScopeSpans::default() }],
        ..ResourceSpans::default()
    };
    let resource_spans = spans.into_iter().map(of_service).collect();
    ExportTraceServiceRequest { resource_spans }.encode_to_vec().into()
}

fn span(number: usize) -> Span {
    let id = (number as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    Span {
        trace_id: ((u128::from(id) << 64) | u128::from(!id)).to_be_bytes().to_vec(),
        span_id: id.to_be_bytes().to_vec(),
        name: "operation".to_owned(),
        start_time_unix_nano: 1,
        end_time_unix_nano: id >> 20,
        ..Span::default()
    }
}

fn attribute(value: Value) -> KeyValue {
    KeyValue { key: "attribute".to_owned(), value: Some(AnyValue { value: Some(value) }), key_strindex: 0 }
}

/// Encodes a length-delimited field.
fn wrapped(tag: u32, bytes: &[u8]) -> Vec<u8> {
    let mut field = Vec::with_capacity(bytes.len() + 10);
    encode_key(tag, WireType::LengthDelimited, &mut field);
    encode_varint(bytes.len() as u64, &mut field);
    field.extend_from_slice(bytes);
    field
}
