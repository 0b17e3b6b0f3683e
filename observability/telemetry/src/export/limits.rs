//! Bounds the size of an ended span, and estimates it.

use opentelemetry::trace::Status;
use opentelemetry::{Array, KeyValue, StringValue, Value};
use opentelemetry_sdk::trace::SpanData;

use crate::attribute::truncated;

/// Cuts the texts of `span` that are longer than `limit` bytes, and returns its approximate size in memory, in bytes.
pub(super) fn cut(span: &mut SpanData, limit: usize) -> usize {
    if span.name.len() > limit {
        span.name = truncated(&span.name, limit).to_owned().into();
    }
    let mut bytes = size_of::<SpanData>() + span.name.len() + cut_all(&mut span.attributes, limit);
    if let Status::Error { description } = &mut span.status {
        if description.len() > limit {
            *description = truncated(description, limit).to_owned().into();
        }
        bytes += description.len();
    }
    for event in &mut span.events.events {
        if event.name.len() > limit {
            event.name = truncated(&event.name, limit).to_owned().into();
        }
        bytes += event.name.len() + cut_all(&mut event.attributes, limit);
    }
    for link in &mut span.links.links {
        bytes += size_of_val(link) + cut_all(&mut link.attributes, limit);
    }
    bytes
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
