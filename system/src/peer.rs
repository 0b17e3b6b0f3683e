//! Calls from one role to another: pooled connections, a deadline, a retry budget, the trace context.
//!
//! A call that did not reach the peer is retried once, and so is a read whose connection broke, within a budget: one retry
//! for every ten calls, and one a second on top. Without the budget, retries would multiply the load of an overloaded peer.

mod base_url;
mod call;
mod connections;
mod error;
mod reply;

use std::time::Duration;

use bytes::Bytes;
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use opentelemetry::Context;
use serde::Serialize;
use telemetry::client::{ClientRequest, ClientSpan};
use tower::retry::budget::{Budget as _, TpsBudget};

use crate::error::Problem;
pub(crate) use base_url::BaseUrl;
use call::{Call, CallSpan};
pub(crate) use connections::{client, retry_budget};
pub(crate) use error::PeerError;
pub(crate) use reply::Reply;

/// Maximum size of a reply; no reply of this system is larger.
pub(crate) const MAX_REPLY_BYTES: usize = 4 << 20;

/// Client of another role.
#[derive(Debug)]
pub(crate) struct Peer {
    authority: Authority,
    client: Client<HttpConnector, Full<Bytes>>,
    deadline: Duration,
    budget: TpsBudget,
}

impl Peer {
    /// Returns a client of the peer at `base` whose calls take at most `deadline`, retries included. Connects at the
    /// first call.
    pub(crate) fn new(base: &BaseUrl, deadline: Duration) -> Self {
        Self { authority: base.authority().clone(), client: client(), deadline, budget: retry_budget() }
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
                method: call.method_name(),
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

fn uri(authority: &Authority, path: &str) -> Option<Uri> {
    let mut parts = http::uri::Parts::default();
    parts.scheme = Some(Scheme::HTTP);
    parts.authority = Some(authority.clone());
    parts.path_and_query = Some(PathAndQuery::try_from(path).ok()?);
    Uri::from_parts(parts).ok()
}
