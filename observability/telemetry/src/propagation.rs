//! W3C Trace Context in HTTP headers and in task messages.

use std::collections::BTreeMap;

use http::{HeaderMap, HeaderName, HeaderValue};
use opentelemetry::propagation::{Extractor, Injector, TextMapPropagator as _};
use opentelemetry::trace::{SpanContext, SpanId};
use opentelemetry::{Context, global};
use opentelemetry_sdk::propagation::TraceContextPropagator;

use crate::contract::{TRACEPARENT, TRACERESPONSE};

/// Writes the span of `cx` to the headers of an outbound request.
pub fn inject(cx: &Context, headers: &mut HeaderMap) {
    TraceContextPropagator::new().inject_context(cx, &mut Headers(headers));
}

/// Returns the caller's context, or an empty one without a valid `traceparent`.
pub fn extract(headers: &HeaderMap) -> Context {
    if !headers.contains_key(TRACEPARENT) {
        return Context::new();
    }
    TraceContextPropagator::new().extract_with_context(&Context::new(), &HeadersRef(headers))
}

/// Returns `cx` as the string map of a task message.
pub fn inject_map(cx: &Context) -> BTreeMap<String, String> {
    let mut carrier = std::collections::HashMap::new();
    global::get_text_map_propagator(|propagator| propagator.inject_context(cx, &mut carrier));
    carrier.into_iter().filter(|(_, value)| !value.is_empty()).collect()
}

/// Returns the context that [`inject_map`] wrote.
pub fn extract_map(carrier: &BTreeMap<String, String>) -> Context {
    let carrier: std::collections::HashMap<String, String> =
        carrier.iter().map(|(key, value)| (key.clone(), value.clone())).collect();
    global::get_text_map_propagator(|propagator| propagator.extract_with_context(&Context::new(), &carrier))
}

/// Returns the value of `traceresponse` for a SERVER span.
pub fn traceresponse(span: &SpanContext) -> Option<HeaderValue> {
    let value = format!("00-{}-{}-{:02x}", span.trace_id(), span.span_id(), span.trace_flags());
    HeaderValue::from_str(&value).ok()
}

/// Returns the SERVER span that answered, if the peer sampled the request.
pub fn answering_span(headers: &HeaderMap) -> Option<SpanId> {
    let value = headers.get(TRACERESPONSE)?.to_str().ok()?;
    let mut parts = value.split('-').skip(2);
    let (id, flags) = (parts.next()?, parts.next()?);
    let sampled = u8::from_str_radix(flags, 16).ok()? & 1 == 1;
    SpanId::from_hex(id).ok().filter(|_| sampled)
}

struct Headers<'a>(&'a mut HeaderMap);

impl Injector for Headers<'_> {
    fn set(&mut self, key: &str, value: String) {
        if value.is_empty() {
            return;
        }
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(key), HeaderValue::try_from(value)) {
            self.0.insert(name, value);
        }
    }
}

struct HeadersRef<'a>(&'a HeaderMap);

impl Extractor for HeadersRef<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).and_then(|value| value.to_str().ok())
    }

    fn keys(&self) -> Vec<&str> {
        self.0.keys().map(HeaderName::as_str).collect()
    }
}
