//! Bounds the size of an ended span, and estimates it.

use std::borrow::Cow;

use opentelemetry::trace::Status;
use opentelemetry::{Array, KeyValue, StringValue, Value};
use opentelemetry_sdk::trace::SpanData;

use crate::attribute::{MAX_VALUE_BYTES, truncated};

/// Cuts the attribute values of `span` that are longer than `limit` bytes, and returns its approximate size in memory, in
/// bytes. The limit of names and status texts is fixed, since `OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT` applies to attributes only.
pub(super) fn cut(span: &mut SpanData, limit: usize) -> usize {
    let mut bytes = size_of::<SpanData>() + cut_name(&mut span.name) + cut_all(&mut span.attributes, limit);
    if let Status::Error { description } = &mut span.status {
        bytes += cut_name(description);
    }
    for event in &mut span.events.events {
        bytes += cut_name(&mut event.name) + cut_all(&mut event.attributes, limit);
    }
    for link in &mut span.links.links {
        bytes += size_of_val(link) + cut_all(&mut link.attributes, limit);
    }
    bytes
}

fn cut_name(name: &mut Cow<'static, str>) -> usize {
    if name.len() > MAX_VALUE_BYTES {
        *name = truncated(name, MAX_VALUE_BYTES).to_owned().into();
    }
    name.len()
}

fn cut_all(attributes: &mut [KeyValue], limit: usize) -> usize {
    let values = attributes.iter_mut().map(|attribute| cut_value(&mut attribute.value, limit));
    values.sum::<usize>() + size_of_val(attributes)
}

/// Cuts each text of an array by itself, as the specification of `OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT` requires.
fn cut_value(value: &mut Value, limit: usize) -> usize {
    match value {
        Value::String(text) => cut_text(text, limit),
        Value::Array(Array::String(texts)) => {
            texts.iter_mut().map(|text| size_of::<StringValue>() + cut_text(text, limit)).sum()
        }
        Value::Array(Array::I64(numbers)) => size_of_val(numbers.as_slice()),
        Value::Array(Array::F64(numbers)) => size_of_val(numbers.as_slice()),
        Value::Array(Array::Bool(values)) => values.len(),
        _ => 0,
    }
}

fn cut_text(text: &mut StringValue, limit: usize) -> usize {
    if text.as_str().len() > limit {
        *text = truncated(text.as_str(), limit).to_owned().into();
    }
    text.as_str().len()
}
