//! W3C Trace Context in HTTP headers and in task messages.

use std::borrow::Cow;
use std::collections::BTreeMap;

use http::{HeaderMap, HeaderName, HeaderValue};
use opentelemetry::propagation::{Extractor, Injector, TextMapPropagator as _};
use opentelemetry::trace::{SpanContext, SpanId, TraceId};
use opentelemetry::{Context, global};
use opentelemetry_sdk::propagation::TraceContextPropagator;

use crate::contract::{BAGGAGE, TRACEPARENT, TRACERESPONSE, TRACESTATE};

/// Maximum length of `tracestate`, in bytes: the length up to which W3C Trace Context requires it to be passed on.
const MAX_TRACESTATE_BYTES: usize = 512;

/// Writes the span of `cx` to the headers of an outbound request.
pub fn inject(cx: &Context, headers: &mut HeaderMap) {
    TraceContextPropagator::new().inject_context(cx, &mut Headers(headers));
}

/// Returns the caller's context, or an empty one without exactly one valid `traceparent`. The lines of `tracestate` are one
/// list (RFC 9110, section 5.3); a list over 512 bytes is ignored, because every span of the trace would contain it.
pub fn extract(headers: &HeaderMap) -> Context {
    let mut parents = headers.get_all(TRACEPARENT).iter();
    if parents.next().is_none() || parents.next().is_some() {
        return Context::new();
    }
    let mut states = headers.get_all(TRACESTATE).iter().filter_map(|line| line.to_str().ok());
    let state = match (states.next(), states.next()) {
        (Some(first), Some(second)) => {
            let lines: Vec<&str> = [first, second].into_iter().chain(states).collect();
            Cow::Owned(lines.join(","))
        }
        (first, _) => Cow::Borrowed(first.unwrap_or_default()),
    };
    TraceContextPropagator::new().extract_with_context(&Context::new(), &HeadersRef { headers, state })
}

/// Removes the context of the caller from the headers of an inbound request, so that it is not passed on.
pub fn remove(headers: &mut HeaderMap) {
    for name in [TRACEPARENT, TRACESTATE, BAGGAGE] {
        headers.remove(name);
    }
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
    answering(headers).map(|(_, span)| span)
}

/// Returns the trace of the SERVER span that answered, if the peer sampled the request. It differs from the caller's if the
/// peer does not continue traces.
pub fn answering_trace(headers: &HeaderMap) -> Option<TraceId> {
    answering(headers).map(|(trace, _)| trace)
}

fn answering(headers: &HeaderMap) -> Option<(TraceId, SpanId)> {
    let value = headers.get(TRACERESPONSE)?.to_str().ok()?;
    let mut parts = value.split('-').skip(1);
    let (trace, span, flags) = (parts.next()?, parts.next()?, parts.next()?);
    let sampled = u8::from_str_radix(flags, 16).ok()? & 1 == 1;
    let ids = (TraceId::from_hex(trace).ok()?, SpanId::from_hex(span).ok()?);
    sampled.then_some(ids)
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

struct HeadersRef<'a> {
    headers: &'a HeaderMap,
    state: Cow<'a, str>,
}

impl Extractor for HeadersRef<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        if key == TRACESTATE.as_str() {
            return Some(&*self.state).filter(|state| state.len() <= MAX_TRACESTATE_BYTES);
        }
        self.headers.get(key).and_then(|value| value.to_str().ok())
    }

    fn keys(&self) -> Vec<&str> {
        self.headers.keys().map(HeaderName::as_str).collect()
    }
}

#[cfg(test)]
mod tests {
    use opentelemetry::trace::TraceContextExt as _;

    use super::*;

    const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    fn context(lines: &[(&'static str, &'static str)]) -> SpanContext {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, HeaderValue::from_static(value));
        }
        extract(&headers).span().span_context().clone()
    }

    #[test]
    fn the_lines_of_tracestate_are_one_list() {
        let state = |lines| context(lines).trace_state().header();
        assert_eq!(
            state(&[("traceparent", PARENT), ("tracestate", "a=1"), ("tracestate", "b=2")]),
            "a=1,b=2"
        );
        assert_eq!(state(&[("traceparent", PARENT), ("tracestate", "a=1")]), "a=1");
        assert_eq!(state(&[("traceparent", PARENT)]), "");
    }

    #[test]
    fn several_parents_are_none() {
        assert!(context(&[("traceparent", PARENT)]).is_valid());
        assert!(!context(&[("traceparent", PARENT), ("traceparent", PARENT)]).is_valid());
        assert!(!context(&[("tracestate", "a=1")]).is_valid());
    }
}
