//! The CLIENT span around one outbound HTTP request.

use std::fmt;
use std::net::SocketAddr;

use http::{HeaderMap, StatusCode};
use opentelemetry::trace::{Span as _, SpanKind, Status, TraceContextExt as _, Tracer as _};
use opentelemetry::{Context, KeyValue};

use crate::attribute::from_request;
use crate::tracer::{in_trace_group, tracer};
use crate::{contract, propagation};

/// An outbound request, as the semantic conventions describe it.
#[derive(Clone)]
pub struct ClientRequest<'a> {
    /// Request method.
    pub method: &'static str,
    /// Route template of the peer, for the name of the span.
    pub route: &'a str,
    /// `server.address`: the peer as it is configured, which may be a name of several addresses.
    pub host: &'a str,
    /// `server.port`.
    pub port: u16,
    /// `url.full`; formatted only if the span is sampled. The span keeps the query only of a GET or HEAD request.
    pub url: &'a dyn fmt::Display,
}

/// An open CLIENT span. Ends when it is finished, failed or dropped (because the caller was cancelled).
#[derive(Debug)]
pub struct ClientSpan {
    cx: Context,
}

impl ClientSpan {
    /// Starts the span as a child of `parent`.
    pub fn start(request: &ClientRequest<'_>, parent: &Context) -> Self {
        let builder = tracer()
            .span_builder(format!("{} {}", request.method, request.route))
            .with_kind(SpanKind::Client);
        let mut span = tracer().build_with_context(builder, parent);
        if span.is_recording() {
            span.set_attributes([
                KeyValue::new("http.request.method", request.method),
                KeyValue::new("server.address", request.host.to_owned()),
                KeyValue::new("server.port", i64::from(request.port)),
                KeyValue::new("url.full", full_url(request)),
            ]);
        }
        Self { cx: parent.with_span(span) }
    }

    /// Adds the address that the request is sent to: `network.peer.address` and `network.peer.port`.
    #[must_use]
    pub fn with_network_peer(self, address: SocketAddr) -> Self {
        let span = self.cx.span();
        if span.is_recording() {
            span.set_attribute(KeyValue::new("network.peer.address", address.ip().to_string()));
            span.set_attribute(KeyValue::new("network.peer.port", i64::from(address.port())));
        }
        self
    }

    /// Starts the span as the root of a trace whose id begins with the 64 bits of `group`.
    pub fn start_root(request: &ClientRequest<'_>, group: u64) -> Self {
        in_trace_group(group, || Self::start(request, &Context::new()))
    }

    /// Returns the context of the span.
    pub fn context(&self) -> &Context {
        &self.cx
    }

    /// Writes the context of the span to the headers of the request.
    pub fn inject(&self, headers: &mut HeaderMap) {
        propagation::inject(&self.cx, headers);
    }

    /// Ends the span with the status and headers of the response. Its status is Error for 4xx and 5xx.
    pub fn finish(self, status: StatusCode, headers: &HeaderMap) {
        self.end(status, headers, status.is_client_error() || status.is_server_error());
    }

    /// Ends the span of a lookup, such as a read of a cache: 404 means that there is no such value, and is no error.
    pub fn finish_lookup(self, status: StatusCode, headers: &HeaderMap) {
        let is_error = status.is_client_error() || status.is_server_error();
        self.end(status, headers, is_error && status != StatusCode::NOT_FOUND);
    }

    /// Ends the span of a request that was refused, as the caller intended. The span is no error.
    pub fn finish_refused(self, status: StatusCode, headers: &HeaderMap) {
        self.cx.span().set_attribute(KeyValue::new(contract::INTENDED_REFUSAL, true));
        self.end(status, headers, false);
    }

    fn end(self, status: StatusCode, headers: &HeaderMap, is_error: bool) {
        let span = self.cx.span();
        if span.is_recording() {
            span.set_attribute(KeyValue::new("http.response.status_code", i64::from(status.as_u16())));
            if let Some(id) = propagation::answering_span(headers) {
                span.set_attribute(KeyValue::new(contract::PEER_SPAN_ID, id.to_string()));
            }
            if is_error {
                span.set_attribute(KeyValue::new("error.type", status.as_str().to_owned()));
                span.set_status(Status::error(""));
            }
        }
        span.end();
    }

    /// Ends the span of a request without a response. `error_type` is a low-cardinality name such as `timeout`.
    pub fn fail(self, error_type: &'static str) {
        let span = self.cx.span();
        span.set_attribute(KeyValue::new("error.type", error_type));
        span.set_status(Status::error(error_type));
        span.end();
    }
}

/// Returns `url.full` of the request. Other requests than GET and HEAD have their data in the body. A query of theirs is a
/// mistake of the caller, and may contain the password of a log-in form.
fn full_url(request: &ClientRequest<'_>) -> String {
    let url = request.url.to_string();
    let recorded = match request.method {
        "GET" | "HEAD" => url.as_str(),
        _ => url.split_once('?').map_or(url.as_str(), |(without_query, _)| without_query),
    };
    from_request(recorded).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_the_query_only_of_get_and_head_requests() {
        let url = "http://host:1/token?username=a&password=b";
        let recorded =
            |method| full_url(&ClientRequest { method, route: "", host: "host", port: 1, url: &url });
        for method in ["GET", "HEAD"] {
            assert_eq!(recorded(method), url);
        }
        for method in ["POST", "PUT", "PATCH", "DELETE", "OPTIONS", "_OTHER"] {
            assert_eq!(recorded(method), "http://host:1/token", "{method}");
        }
    }
}
