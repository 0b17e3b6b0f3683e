//! The CLIENT span around one outbound HTTP request.

use std::fmt;

use http::{HeaderMap, StatusCode};
use opentelemetry::trace::{Span as _, SpanKind, Status, TraceContextExt as _, Tracer as _};
use opentelemetry::{Context, KeyValue};

use crate::tracer::tracer;
use crate::{contract, propagation};

/// Where a request goes, as the conventions want it told.
#[derive(Clone)]
pub struct Target<'a> {
    /// Request method.
    pub method: &'static str,
    /// The peer's route template, for the span's name.
    pub route: &'a str,
    /// `server.address`.
    pub host: &'a str,
    /// `server.port`.
    pub port: u16,
    /// `url.full`; written out only when somebody records it.
    pub url: &'a dyn fmt::Display,
}

/// An open CLIENT span. Ends when finished, failed or dropped (a caller that went away).
#[derive(Debug)]
pub struct ClientSpan {
    cx: Context,
}

impl ClientSpan {
    /// Opens the span as a child of `parent`.
    pub fn start(target: &Target<'_>, parent: &Context) -> Self {
        let builder =
            tracer().span_builder(format!("{} {}", target.method, target.route)).with_kind(SpanKind::Client);
        let mut span = tracer().build_with_context(builder, parent);
        if span.is_recording() {
            span.set_attributes([
                KeyValue::new("http.request.method", target.method),
                KeyValue::new("server.address", target.host.to_owned()),
                KeyValue::new("server.port", i64::from(target.port)),
                KeyValue::new("url.full", target.url.to_string()),
            ]);
        }
        Self { cx: parent.with_span(span) }
    }

    /// The span's context, to send on and to log with.
    pub fn context(&self) -> &Context {
        &self.cx
    }

    /// Puts the span's context into the request's headers.
    pub fn inject(&self, headers: &mut HeaderMap) {
        propagation::inject(&self.cx, headers);
    }

    /// The peer answered.
    pub fn finish(self, status: StatusCode, headers: &HeaderMap) {
        let span = self.cx.span();
        if span.is_recording() {
            span.set_attribute(KeyValue::new("http.response.status_code", i64::from(status.as_u16())));
            if let Some(id) = propagation::answering_span(headers) {
                span.set_attribute(KeyValue::new(contract::PEER_SPAN_ID, id.to_string()));
            }
            if status.is_client_error() || status.is_server_error() {
                span.set_attribute(KeyValue::new("error.type", status.as_str().to_owned()));
                span.set_status(Status::error(""));
            }
        }
        span.end();
    }

    /// No answer came; `error_type` is a low-cardinality name such as `timeout`.
    pub fn fail(self, error_type: &'static str) {
        let span = self.cx.span();
        span.set_attribute(KeyValue::new("error.type", error_type));
        span.set_status(Status::error(error_type));
        span.end();
    }
}
