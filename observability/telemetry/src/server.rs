//! A server for HTTP/1.1 and HTTP/2, and the SERVER span, log line and duration metric of each request.
//!
//! Apply [`traced`] to routes that serve requests of users, [`traced_if`] to those that untrusted callers reach, [`logged`] to
//! routes that are polled, and [`measured`] to those that are polled often.

mod accept;
mod client_errors;
mod listener;
mod http2;

use std::borrow::Cow;
use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use axum::Router;
use axum::extract::{ConnectInfo, MatchedPath, Request};
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::Response;
use axum::routing::get;
use opentelemetry::trace::{
    FutureExt as _, Link, Span as _, SpanContext, SpanKind, Status, TraceContextExt as _, TraceState,
    Tracer as _,
};
use opentelemetry::{Context, KeyValue};
use serde::Serialize;
use tracing::Level;

use crate::attribute::from_request;
use crate::tracer::tracer;
use crate::{contract, metrics, propagation};

use client_errors::ClientErrorLog;

pub use accept::{Accepted, Acceptor, MAX_CONNECTIONS, descriptor_limit};
pub use http2::serve_http2;
pub use listener::{DRAIN_DEADLINE, serve};

static CLIENT_ERRORS: ClientErrorLog = ClientErrorLog::new();

/// Response extension: fields that a handler adds to the log line of its request.
#[derive(Debug, Clone, Default)]
pub struct LogFields(String);

impl LogFields {
    /// Adds a field. A value that cannot be serialized as JSON is left out.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: impl Serialize) -> Self {
        if let Ok(value) = serde_json::to_string(&value) {
            self.0.extend([",\"", name, "\":", &value]);
        }
        self
    }
}

/// Traces, logs and measures each request of `router`, including requests without a matching route.
pub fn traced(router: Router) -> Router {
    router.layer(middleware::from_fn(|request: Request, next: Next| {
        let caller = Caller::Trusted(propagation::extract(request.headers()));
        trace(request, next, caller)
    }))
}

/// Does the same as [`traced`], but continues a trace only if `trusts` returns true for the request.
///
/// Otherwise the SERVER span starts a new trace, which this process samples by itself, with a link to the span of the
/// caller. The caller's trace context and baggage are removed from the request.
pub fn traced_if(
    router: Router,
    trusts: impl Fn(&Request) -> bool + Clone + Send + Sync + 'static,
) -> Router {
    router.layer(middleware::from_fn(move |mut request: Request, next: Next| {
        let context = propagation::extract(request.headers());
        let caller = if trusts(&request) {
            Caller::Trusted(context)
        } else {
            propagation::remove(request.headers_mut());
            Caller::Untrusted(context)
        };
        trace(request, next, caller)
    }))
}

/// The caller of a request, with the context that the request arrives with.
enum Caller {
    /// The SERVER span continues the trace of the caller.
    Trusted(Context),
    /// The SERVER span starts a new trace.
    Untrusted(Context),
}

/// Logs and measures each request of `router` without a span.
pub fn logged(router: Router) -> Router {
    router.layer(middleware::from_fn(log))
}

/// Returns the routes `GET /metrics` and `GET /health/live`.
pub fn operations() -> Router {
    Router::new().route("/health/live", get(|| async { "live\n" })).route(
        "/metrics",
        get(|| async { ([(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], metrics::render()) }),
    )
}

/// Measures each request of `router` without a span, and logs it at debug level.
pub fn measured(router: Router) -> Router {
    router.layer(middleware::from_fn(measure))
}

async fn trace(request: Request, next: Next, caller: Caller) -> Response {
    let started = Instant::now();
    let method = known_method(request.method());
    let matched = request.extensions().get::<MatchedPath>().cloned();
    let route = matched.as_ref().map_or("", MatchedPath::as_str);
    let path = truncated_path(&request).to_owned();
    let mut span = ServerSpan::start(&request, method, route, caller);
    let cx = span.cx.clone();
    let mut response = next.run(request).with_context(cx.clone()).await;
    if cx.span().span_context().is_sampled()
        && let Some(value) = propagation::traceresponse(cx.span().span_context())
    {
        response.headers_mut().insert(contract::TRACERESPONSE, value);
    }
    span.finish(response.status());
    let _entered = cx.attach();
    record(method, route, &path, &response, started, Level::INFO);
    response
}

async fn log(request: Request, next: Next) -> Response {
    recorded(request, next, Level::INFO).await
}

async fn measure(request: Request, next: Next) -> Response {
    recorded(request, next, Level::DEBUG).await
}

async fn recorded(request: Request, next: Next, level: Level) -> Response {
    let started = Instant::now();
    let method = known_method(request.method());
    let route = route(&request).to_owned();
    let path = truncated_path(&request).to_owned();
    let response = next.run(request).await;
    record(method, &route, &path, &response, started, level);
    response
}

fn record(
    method: &'static str,
    route: &str,
    path: &str,
    response: &Response,
    started: Instant,
    level: Level,
) {
    let elapsed = started.elapsed();
    let status = response.status().as_u16();
    metrics::observe_request(method, route, status, elapsed.as_secs_f64());
    let enabled = if level == Level::INFO {
        tracing::event_enabled!(Level::INFO)
    } else {
        tracing::event_enabled!(Level::DEBUG)
    };
    if !enabled {
        return;
    }
    if response.status().is_client_error() {
        let decision = CLIENT_ERRORS.admit();
        if decision.suppressed_before > 0 {
            let count = decision.suppressed_before;
            tracing::warn!(count, "further requests answered with 4xx were not logged");
        }
        if !decision.logged {
            return;
        }
    }
    let duration_us = elapsed.as_micros() as u64;
    let json_fields = response.extensions().get::<LogFields>().map(|fields| fields.0.as_str());
    if level == Level::INFO {
        tracing::info!(status, duration_us, json_fields, "{method} {path}");
    } else {
        tracing::debug!(status, duration_us, json_fields, "{method} {path}");
    }
}

/// A SERVER span that also ends if the caller disconnects and the handler is dropped.
struct ServerSpan {
    cx: Context,
    finished: bool,
}

impl ServerSpan {
    fn start(request: &Request, method: &'static str, route: &str, caller: Caller) -> Self {
        let (parent, link) = match caller {
            Caller::Trusted(parent) => (parent, None),
            Caller::Untrusted(context) => (Context::new(), link(&context)),
        };
        let name =
            if route.is_empty() { Cow::Borrowed(method) } else { Cow::Owned(format!("{method} {route}")) };
        let builder = tracer().span_builder(name).with_kind(SpanKind::Server);
        let builder = match link {
            Some(link) => builder.with_links(vec![link]),
            None => builder,
        };
        let mut span = tracer().build_with_context(builder, &parent);
        if span.is_recording() {
            span.set_attributes(attributes(request, method, route));
        }
        Self { cx: parent.with_span(span), finished: false }
    }

    fn finish(&mut self, status: StatusCode) {
        self.finished = true;
        let span = self.cx.span();
        if span.is_recording() {
            span.set_attribute(KeyValue::new("http.response.status_code", i64::from(status.as_u16())));
            if status.is_server_error() {
                span.set_attribute(KeyValue::new("error.type", status.as_str().to_owned()));
                span.set_status(Status::error(""));
            }
        }
        span.end();
    }
}

impl Drop for ServerSpan {
    fn drop(&mut self) {
        if !self.finished {
            let span = self.cx.span();
            span.set_attribute(KeyValue::new("error.type", "cancelled"));
            span.set_status(Status::error("the caller disconnected"));
            span.end();
        }
    }
}

/// Returns a link to the span of `caller`, without its `tracestate`, which the caller chose.
fn link(caller: &Context) -> Option<Link> {
    let span = caller.span();
    let context = span.span_context();
    let ids = (context.trace_id(), context.span_id(), context.trace_flags());
    let linked = SpanContext::new(ids.0, ids.1, ids.2, true, TraceState::NONE);
    linked.is_valid().then(|| Link::with_context(linked))
}

fn attributes(request: &Request, method: &'static str, route: &str) -> Vec<KeyValue> {
    let mut attributes = Vec::with_capacity(10);
    attributes.push(KeyValue::new("http.request.method", method));
    attributes.push(KeyValue::new("url.path", truncated_path(request).to_owned()));
    attributes.push(KeyValue::new("url.scheme", "http"));
    if !route.is_empty() {
        attributes.push(KeyValue::new("http.route", route.to_owned()));
    }
    if let Some((host, port)) = host(request.headers()) {
        attributes.push(KeyValue::new("server.address", from_request(host).to_owned()));
        attributes.push(KeyValue::new("server.port", i64::from(port)));
    }
    if let Some(client) = client_address(request) {
        attributes.push(KeyValue::new("client.address", client));
    }
    if let Some(agent) = request.headers().get(header::USER_AGENT).and_then(|agent| agent.to_str().ok()) {
        attributes.push(KeyValue::new("user_agent.original", from_request(agent).to_owned()));
    }
    attributes
}

fn host(headers: &HeaderMap) -> Option<(&str, u16)> {
    let host = headers.get(header::HOST)?.to_str().ok()?;
    match host.rsplit_once(':') {
        Some((name, port)) => Some((name, port.parse().ok()?)),
        None => Some((host, 80)),
    }
}

/// Returns the first address of `X-Forwarded-For`, or the peer address of the connection if the header does not begin with
/// an address.
fn client_address(request: &Request) -> Option<String> {
    let forwarded = request.headers().get("x-forwarded-for").and_then(|value| value.to_str().ok());
    let first = forwarded.and_then(|list| list.split(',').next()).map(str::trim);
    if let Some(first) = first.filter(|first| first.parse::<IpAddr>().is_ok()) {
        return Some(first.to_owned());
    }
    request.extensions().get::<ConnectInfo<SocketAddr>>().map(|ConnectInfo(peer)| peer.ip().to_string())
}

fn route(request: &Request) -> &str {
    request.extensions().get::<MatchedPath>().map_or("", MatchedPath::as_str)
}

/// Returns the first 256 bytes of the path, which the caller chose, to bound the size of log lines and spans.
fn truncated_path(request: &Request) -> &str {
    from_request(request.uri().path())
}

/// Returns the method if the semantic conventions know it, otherwise `_OTHER`.
fn known_method(method: &Method) -> &'static str {
    match method.as_str() {
        "GET" => "GET",
        "POST" => "POST",
        "PUT" => "PUT",
        "DELETE" => "DELETE",
        "HEAD" => "HEAD",
        "OPTIONS" => "OPTIONS",
        "PATCH" => "PATCH",
        "TRACE" => "TRACE",
        "CONNECT" => "CONNECT",
        _ => "_OTHER",
    }
}

#[cfg(test)]
mod tests {
    use std::io::{self, Write};
    use std::sync::{Arc, Mutex};

    use axum::body::Body;
    use tower::Service as _;

    use super::*;

    /// Keeps the lines written to it.
    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[tokio::test(start_paused = true)]
    async fn client_errors_below_the_log_level_do_not_use_up_the_lines_of_others() {
        let lines = Lines::default();
        let writer = lines.clone();
        let subscriber =
            tracing_subscriber::fmt().with_max_level(Level::INFO).with_writer(move || writer.clone());
        // With a single subscriber, `tracing` asks the thread that first reaches a line whether it is wanted, and threads of
        // other tests have none. With two, it asks the subscribers.
        let _second = tracing::Dispatch::new(tracing_subscriber::registry());
        let _default = tracing::subscriber::set_default(subscriber.finish());
        let request = || Request::builder().uri("/none").body(Body::empty()).unwrap();
        let (mut polled, mut others) = (measured(Router::new()), logged(Router::new()));
        for _ in 0..100 {
            assert_eq!(polled.call(request()).await.unwrap().status(), StatusCode::NOT_FOUND);
        }
        others.call(request()).await.unwrap();
        let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
        assert!(text.contains("GET /none"), "{text}");
    }
}
