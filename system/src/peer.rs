//! Calls from one role to another: pooled connections, a deadline, a retry budget, the trace context.
//!
//! A call that never reached the peer is tried once more, and so is a broken GET, while the budget lasts: retries must
//! not multiply the load of a peer that is already in trouble.

mod budget;

use std::time::Duration;

use bytes::Bytes;
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, Uri, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use opentelemetry::Context;
use serde::Serialize;
use serde::de::DeserializeOwned;
use telemetry::client::{ClientSpan, Target};

use crate::error::{Code, Problem};
use budget::RetryBudget;

/// Larger than any reply of this system.
pub(crate) const MAX_REPLY_BYTES: usize = 4 << 20;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// Shorter than any server's own limit, so that the pool rarely hands out a connection that the peer is closing.
const IDLE_TIMEOUT: Duration = Duration::from_secs(20);

/// One role, as another one calls it.
#[derive(Debug)]
pub(crate) struct Peer {
    authority: Authority,
    client: Client<HttpConnector, Full<Bytes>>,
    deadline: Duration,
    budget: RetryBudget,
}

/// Why there is no reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PeerError {
    /// No connection.
    #[error("the peer is not reachable")]
    Unreachable,
    /// The connection broke before the reply was whole.
    #[error("the peer broke off")]
    Broken,
    /// The deadline passed.
    #[error("the peer took too long")]
    Timeout,
}

impl PeerError {
    /// `error.type` of the span, and what the log line says.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Unreachable => "unreachable",
            Self::Broken => "broken",
            Self::Timeout => "timeout",
        }
    }
}

impl From<PeerError> for Problem {
    fn from(error: PeerError) -> Self {
        match error {
            PeerError::Timeout => Code::Timeout.into(),
            PeerError::Unreachable | PeerError::Broken => Code::Unavailable.into(),
        }
    }
}

/// A whole reply.
#[derive(Debug)]
pub(crate) struct Reply {
    /// Its status.
    pub(crate) status: StatusCode,
    /// Its body.
    pub(crate) body: Bytes,
}

impl Reply {
    /// The value of a 200; a problem of the peer's is passed on when the caller can act upon it.
    pub(crate) fn json<T: DeserializeOwned>(&self) -> Result<T, Problem> {
        if self.status != StatusCode::OK {
            return Err(self.problem());
        }
        serde_json::from_slice(&self.body).map_err(Problem::internal)
    }

    fn problem(&self) -> Problem {
        #[derive(serde::Deserialize)]
        struct Body {
            code: Code,
        }
        match serde_json::from_slice::<Body>(&self.body) {
            Ok(Body { code }) => code.into(),
            Err(_) => {
                tracing::error!(status = self.status.as_u16(), "a peer's reply is not understood");
                Code::Internal.into()
            }
        }
    }
}

impl Peer {
    /// A peer at `base`, `http://host:port`. Connects when first called.
    pub(crate) fn new(base: &str, deadline: Duration) -> Result<Self, http::uri::InvalidUri> {
        let authority = base.trim_start_matches("http://").trim_end_matches('/').parse()?;
        Ok(Self { authority, client: client(), deadline, budget: RetryBudget::default() })
    }

    /// `GET`; `route` is the peer's template of `path`, for the span.
    pub(crate) async fn get(&self, route: &'static str, path: &str) -> Result<Reply, PeerError> {
        self.send(Method::GET, route, path, Bytes::new(), true).await
    }

    /// `POST` with a JSON body.
    pub(crate) async fn post<T: Serialize>(
        &self,
        route: &'static str,
        path: &str,
        body: &T,
    ) -> Result<Reply, Problem> {
        let body = serde_json::to_vec(body).map_err(Problem::internal)?;
        Ok(self.send(Method::POST, route, path, body.into(), true).await?)
    }

    /// `POST` without a span, for polls that belong to no request.
    pub(crate) async fn poll<T: Serialize>(&self, path: &str, body: &T) -> Result<Reply, Problem> {
        let body = serde_json::to_vec(body).map_err(Problem::internal)?;
        Ok(self.send(Method::POST, "", path, body.into(), false).await?)
    }

    async fn send(
        &self,
        method: Method,
        route: &'static str,
        path: &str,
        body: Bytes,
        traced: bool,
    ) -> Result<Reply, PeerError> {
        let give_up = tokio::time::Instant::now() + self.deadline;
        self.budget.deposit();
        let mut tried_again = false;
        loop {
            let attempt = self.attempt(&method, route, path, body.clone(), traced);
            let error = match tokio::time::timeout_at(give_up, attempt).await {
                Ok(Ok(reply)) => return Ok(reply),
                Ok(Err(error)) => error,
                Err(_) => return Err(PeerError::Timeout),
            };
            let safe =
                error == PeerError::Unreachable || (error == PeerError::Broken && method == Method::GET);
            if tried_again || !safe || !self.budget.withdraw() {
                tracing::warn!(peer = %self.authority, error = error.name(), "call failed");
                return Err(error);
            }
            tried_again = true;
        }
    }

    async fn attempt(
        &self,
        method: &Method,
        route: &'static str,
        path: &str,
        body: Bytes,
        traced: bool,
    ) -> Result<Reply, PeerError> {
        let uri = uri(&self.authority, path).ok_or(PeerError::Broken)?;
        let mut span = Deadline::new(traced.then(|| {
            let target = Target {
                method: if *method == Method::GET { "GET" } else { "POST" },
                route,
                host: self.authority.host(),
                port: self.authority.port_u16().unwrap_or(80),
                url: &uri,
            };
            ClientSpan::start(&target, &Context::current())
        }));
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = method.clone();
        *request.uri_mut() = uri;
        if *method == Method::POST {
            request.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
        if let Some(span) = &span.0 {
            span.inject(request.headers_mut());
        }
        match self.exchange(request).await {
            Ok((headers, reply)) => {
                span.finish(reply.status, &headers);
                Ok(reply)
            }
            Err(error) => {
                span.fail(error.name());
                Err(error)
            }
        }
    }

    async fn exchange(&self, request: Request<Full<Bytes>>) -> Result<(HeaderMap, Reply), PeerError> {
        let response = self.client.request(request).await.map_err(|error| match error.is_connect() {
            true => PeerError::Unreachable,
            false => PeerError::Broken,
        })?;
        let (head, body) = response.into_parts();
        let body = Limited::new(body, MAX_REPLY_BYTES).collect().await.map_err(|_| PeerError::Broken)?;
        Ok((head.headers, Reply { status: head.status, body: body.to_bytes() }))
    }
}

/// A CLIENT span that says `timeout` when the deadline drops the call half-way.
struct Deadline(Option<ClientSpan>);

impl Deadline {
    fn new(span: Option<ClientSpan>) -> Self {
        Self(span)
    }

    fn finish(&mut self, status: StatusCode, headers: &HeaderMap) {
        if let Some(span) = self.0.take() {
            span.finish(status, headers);
        }
    }

    fn fail(&mut self, error_type: &'static str) {
        if let Some(span) = self.0.take() {
            span.fail(error_type);
        }
    }
}

impl Drop for Deadline {
    fn drop(&mut self) {
        self.fail("timeout");
    }
}

/// An HTTP/1 client whose pool suits calls within one network.
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
