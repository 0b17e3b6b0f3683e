//! Calls from one role to another: pooled connections, a deadline, a retry budget, the trace context.
//!
//! A call that did not reach the peer is retried once, and so is a read whose connection broke, within a budget: one retry
//! for every ten calls, and one a second on top. Without the budget, retries would multiply the load of an overloaded peer.

use std::error::Error as _;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use bytes::Bytes;
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, Uri, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::{self as client, Client};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use opentelemetry::Context;
use serde::Serialize;
use serde::de::DeserializeOwned;
use telemetry::arguments::{ParseError, base_url};
use telemetry::client::{ClientRequest, ClientSpan};
use tower::retry::budget::{Budget as _, TpsBudget};

use crate::error::{Code, Problem};

/// Maximum size of a reply; no reply of this system is larger.
pub(crate) const MAX_REPLY_BYTES: usize = 4 << 20;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// Shorter than the idle timeout of any server here, so that the pool rarely returns a connection that the peer is closing.
const IDLE_TIMEOUT: Duration = Duration::from_secs(20);

/// Period over which retries are compared with calls.
const BUDGET_PERIOD: Duration = Duration::from_secs(10);
/// Retries a second that do not depend on the number of calls.
const BUDGET_MIN_PER_SECOND: u32 = 1;
/// Retries for each call.
const BUDGET_RATIO: f32 = 0.1;

/// Base URL of a peer, `http://HOST:PORT`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct BaseUrl(Authority);

impl BaseUrl {
    /// Returns host and port.
    pub(crate) fn authority(&self) -> &Authority {
        &self.0
    }
}

impl FromStr for BaseUrl {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let url = base_url(text)?;
        url.trim_start_matches("http://").parse().map(Self).map_err(|_| ParseError::BaseUrl)
    }
}

impl fmt::Display for BaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http://{}", self.0)
    }
}

/// Client of another role.
#[derive(Debug)]
pub(crate) struct Peer {
    authority: Authority,
    client: Client<HttpConnector, Full<Bytes>>,
    deadline: Duration,
    budget: TpsBudget,
}

/// A call that ended without a reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PeerError {
    /// No connection could be opened.
    #[error("cannot connect to the peer")]
    Unreachable,
    /// The connection broke before the reply was complete.
    #[error("the connection to the peer broke")]
    Broken,
    /// The reply is not valid HTTP.
    #[error("the reply of the peer is not valid HTTP")]
    Malformed,
    /// The deadline passed.
    #[error("the peer did not answer in time")]
    Timeout,
}

impl PeerError {
    /// Returns the `error.type` of the span, which is also the `error` of the log line.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Unreachable => "unreachable",
            Self::Broken => "broken",
            Self::Malformed => "malformed",
            Self::Timeout => "timeout",
        }
    }
}

impl From<&client::Error> for PeerError {
    fn from(error: &client::Error) -> Self {
        let cause = error.source().and_then(|cause| cause.downcast_ref::<hyper::Error>());
        match cause {
            _ if error.is_connect() => Self::Unreachable,
            Some(cause) if cause.is_parse() => Self::Malformed,
            _ => Self::Broken,
        }
    }
}

impl From<PeerError> for Problem {
    fn from(error: PeerError) -> Self {
        match error {
            PeerError::Timeout => Code::Timeout.into(),
            PeerError::Malformed => Code::BadGateway.into(),
            PeerError::Unreachable | PeerError::Broken => Code::Unavailable.into(),
        }
    }
}

/// A complete reply.
#[derive(Debug)]
pub(crate) struct Reply {
    /// Its status.
    pub(crate) status: StatusCode,
    /// Its body.
    pub(crate) body: Bytes,
}

impl Reply {
    /// Returns the value of a 200 reply.
    ///
    /// # Errors
    ///
    /// Any other status becomes the problem with the peer's code.
    pub(crate) fn json<T: DeserializeOwned>(&self) -> Result<T, Problem> {
        if self.status != StatusCode::OK {
            return Err(self.problem());
        }
        serde_json::from_slice(&self.body).map_err(Problem::internal)
    }

    fn problem(&self) -> Problem {
        Problem::from_body(&self.body).unwrap_or_else(|| {
            tracing::error!(
                status = self.status.as_u16(),
                "the reply of a peer is neither a success nor a problem"
            );
            Code::Internal.into()
        })
    }
}

impl Peer {
    /// Returns a client of the peer at `base` whose calls take at most `deadline`, retries included. Connects at the
    /// first call.
    pub(crate) fn new(base: &BaseUrl, deadline: Duration) -> Self {
        Self { authority: base.0.clone(), client: client(), deadline, budget: retry_budget() }
    }

    /// Sends a `GET`; `route` is the peer's template of `path`, for the span.
    pub(crate) async fn get(&self, route: &'static str, path: &str) -> Result<Reply, PeerError> {
        self.send(Call::get(route, path)).await
    }

    /// Sends a `GET` for a value that need not exist: a 404 is no error of the span.
    pub(crate) async fn look_up(&self, route: &'static str, path: &str) -> Result<Reply, PeerError> {
        self.send(Call { is_lookup: true, ..Call::get(route, path) }).await
    }

    /// Sends a `POST` with a JSON body that only reads: a 404 is no error of the span, and a broken call is retried. For
    /// values that must not appear in logs and spans, which contain URLs.
    pub(crate) async fn look_up_with<T: Serialize>(
        &self,
        path: &'static str,
        body: &T,
    ) -> Result<Reply, Problem> {
        let call = Call { is_lookup: true, is_safe: true, ..Call::post(path, path, body)? };
        Ok(self.send(call).await?)
    }

    /// Sends a `POST` with a JSON body.
    pub(crate) async fn post<T: Serialize>(
        &self,
        route: &'static str,
        path: &str,
        body: &T,
    ) -> Result<Reply, Problem> {
        Ok(self.send(Call::post(route, path, body)?).await?)
    }

    /// Sends a `POST` with a JSON body and, if given, a header.
    pub(crate) async fn post_with<T: Serialize>(
        &self,
        route: &'static str,
        path: &str,
        header: Option<(HeaderName, HeaderValue)>,
        body: &T,
    ) -> Result<Reply, Problem> {
        Ok(self.send(Call { header, ..Call::post(route, path, body)? }).await?)
    }

    /// Sends a `DELETE`. A broken call is not repeated: the second reply would differ from the first.
    pub(crate) async fn delete(&self, route: &'static str, path: &str) -> Result<Reply, PeerError> {
        self.send(Call { method: Method::DELETE, is_safe: false, ..Call::get(route, path) }).await
    }

    /// Sends a `POST` without a span, for polls that belong to no request.
    pub(crate) async fn poll<T: Serialize>(&self, path: &str, body: &T) -> Result<Reply, Problem> {
        Ok(self.send(Call { is_traced: false, ..Call::post("", path, body)? }).await?)
    }

    async fn send(&self, call: Call<'_>) -> Result<Reply, PeerError> {
        let give_up = tokio::time::Instant::now() + self.deadline;
        self.budget.deposit();
        let mut retried = false;
        loop {
            let error = match tokio::time::timeout_at(give_up, self.attempt(&call)).await {
                Ok(Ok(reply)) => return Ok(reply),
                Ok(Err(error)) => error,
                Err(_) => return Err(PeerError::Timeout),
            };
            let may_retry = error == PeerError::Unreachable || (error == PeerError::Broken && call.is_safe);
            if retried || !may_retry || !self.budget.withdraw() {
                tracing::warn!(peer = %self.authority, error = error.name(), "call failed");
                return Err(error);
            }
            retried = true;
        }
    }

    async fn attempt(&self, call: &Call<'_>) -> Result<Reply, PeerError> {
        let uri = uri(&self.authority, call.path).ok_or(PeerError::Broken)?;
        let mut span = CallSpan(call.is_traced.then(|| {
            let target = ClientRequest {
                method: match call.method {
                    Method::GET => "GET",
                    Method::DELETE => "DELETE",
                    _ => "POST",
                },
                route: call.route,
                host: self.authority.host(),
                port: self.authority.port_u16().unwrap_or(80),
                url: &uri,
            };
            ClientSpan::start(&target, &Context::current())
        }));
        let mut request = Request::new(Full::new(call.body.clone()));
        *request.method_mut() = call.method.clone();
        *request.uri_mut() = uri;
        if call.method == Method::POST {
            request.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
        if let Some((name, value)) = &call.header {
            request.headers_mut().insert(name, value.clone());
        }
        if let Some(span) = &span.0 {
            span.inject(request.headers_mut());
        }
        match self.exchange(request).await {
            Ok((headers, reply)) => {
                span.finish(call, reply.status, &headers);
                Ok(reply)
            }
            Err(error) => {
                span.fail(error.name());
                Err(error)
            }
        }
    }

    async fn exchange(&self, request: Request<Full<Bytes>>) -> Result<(HeaderMap, Reply), PeerError> {
        let response = self.client.request(request).await.map_err(|error| PeerError::from(&error))?;
        let (head, body) = response.into_parts();
        let body = Limited::new(body, MAX_REPLY_BYTES).collect().await.map_err(|_| PeerError::Broken)?;
        Ok((head.headers, Reply { status: head.status, body: body.to_bytes() }))
    }
}

/// One call, which may take several attempts.
struct Call<'a> {
    method: Method,
    /// The peer's template of `path`, for the span.
    route: &'static str,
    path: &'a str,
    body: Bytes,
    /// A header of the caller that the peer needs.
    header: Option<(HeaderName, HeaderValue)>,
    is_traced: bool,
    /// Whether 404 means that there is no such value.
    is_lookup: bool,
    /// Whether the call changes nothing, so that it may be repeated.
    is_safe: bool,
}

impl<'a> Call<'a> {
    fn get(route: &'static str, path: &'a str) -> Self {
        Self {
            method: Method::GET,
            route,
            path,
            body: Bytes::new(),
            header: None,
            is_traced: true,
            is_lookup: false,
            is_safe: true,
        }
    }

    fn post<T: Serialize>(route: &'static str, path: &'a str, body: &T) -> Result<Self, Problem> {
        let body = serde_json::to_vec(body).map_err(Problem::internal)?.into();
        Ok(Self {
            method: Method::POST,
            route,
            path,
            body,
            header: None,
            is_traced: true,
            is_lookup: false,
            is_safe: false,
        })
    }
}

/// A CLIENT span that ends with the error `timeout` if the deadline drops the call.
struct CallSpan(Option<ClientSpan>);

impl CallSpan {
    fn finish(&mut self, call: &Call<'_>, status: StatusCode, headers: &HeaderMap) {
        match self.0.take() {
            Some(span) if call.is_lookup => span.finish_lookup(status, headers),
            Some(span) => span.finish(status, headers),
            None => {}
        }
    }

    fn fail(&mut self, error_type: &'static str) {
        if let Some(span) = self.0.take() {
            span.fail(error_type);
        }
    }
}

impl Drop for CallSpan {
    fn drop(&mut self) {
        self.fail("timeout");
    }
}

/// Returns a budget of one retry for every ten calls, and one a second on top.
pub(crate) fn retry_budget() -> TpsBudget {
    TpsBudget::new(BUDGET_PERIOD, BUDGET_MIN_PER_SECOND, BUDGET_RATIO)
}

/// Returns an HTTP/1 client with a connection pool for calls within one network.
pub(crate) fn client<B>() -> Client<HttpConnector, B>
where
    B: http_body::Body + Send,
    B::Data: Send,
{
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    connector.set_connect_timeout(Some(CONNECT_TIMEOUT));
    Client::builder(TokioExecutor::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(IDLE_TIMEOUT)
        .build(connector)
}

fn uri(authority: &Authority, path: &str) -> Option<Uri> {
    let mut parts = http::uri::Parts::default();
    parts.scheme = Some(Scheme::HTTP);
    parts.authority = Some(authority.clone());
    parts.path_and_query = Some(PathAndQuery::try_from(path).ok()?);
    Uri::from_parts(parts).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn retries_are_limited_by_the_number_of_calls() {
        let peer = Peer::new(&"http://a:1".parse().unwrap(), Duration::from_secs(1));
        let retries = || std::iter::repeat_with(|| peer.budget.withdraw()).take_while(|ok| *ok).count();
        assert_eq!(retries(), 10, "one a second over the period");
        (0..25).for_each(|_| peer.budget.deposit());
        assert_eq!(retries(), 2, "one for every ten calls");
    }
}
