//! Calls from one role to another: pooled connections, a deadline, a retry budget, the trace context.
//!
//! A peer may have several addresses, which take turns. A call whose connection is refused goes to the next address. After
//! the last one it is retried once, and so is a read whose connection broke, within a budget: one retry for every ten calls,
//! and one a second on top. Without the budget, retries would multiply the load of an overloaded peer. A `POST` that may have
//! been sent is never retried.

mod base_url;
mod call;
mod connections;
mod endpoint;
mod endpoints;
mod error;
mod health;
mod known;
mod probe;
mod reply;
mod resolver;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use opentelemetry::Context;
use serde::Serialize;
use telemetry::client::{ClientRequest, ClientSpan};
use tokio::time::{Instant, timeout_at};
use tower::retry::budget::{Budget as _, TpsBudget};

use crate::error::Problem;
pub(crate) use base_url::BaseUrls;
use call::{Call, CallSpan};
pub(crate) use connections::{client, retry_budget};
pub(crate) use endpoint::Endpoint;
pub(crate) use endpoints::Endpoints;
pub(crate) use error::PeerError;
use health::Outcome;
use probe::OpenCall;
pub(crate) use probe::probe;
pub(crate) use reply::Reply;

/// Maximum size of a reply; no reply of this system is larger.
pub(crate) const MAX_REPLY_BYTES: usize = 4 << 20;

/// Client of another role.
#[derive(Debug)]
pub(crate) struct Peer {
    urls: BaseUrls,
    endpoints: Endpoints,
    client: Client<HttpConnector, Full<Bytes>>,
    deadline: Duration,
    budget: TpsBudget,
}

impl Peer {
    /// Returns a client of the peer at `urls` whose calls take at most `deadline`, retries included. Connects at the first
    /// call; looks up names at once, which needs a runtime.
    pub(crate) fn new(urls: &BaseUrls, deadline: Duration) -> Self {
        Self::over(Endpoints::new(urls), urls, deadline)
    }

    fn over(endpoints: Endpoints, urls: &BaseUrls, deadline: Duration) -> Self {
        Self { urls: urls.clone(), endpoints, client: client(), deadline, budget: retry_budget() }
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

    /// Sends a `GET` without a span, for polls that belong to no request.
    pub(crate) async fn poll_get(&self, path: &str) -> Result<Reply, PeerError> {
        self.send(Call { is_traced: false, ..Call::get("", path) }).await
    }

    async fn send(&self, call: Call<'_>) -> Result<Reply, PeerError> {
        let give_up = Instant::now() + self.deadline;
        self.budget.deposit();
        let sent = match timeout_at(give_up, self.endpoints.up_first()).await {
            Ok(endpoints) => self.send_to(&endpoints, &call, give_up).await,
            Err(_) => Err(PeerError::Timeout),
        };
        if let Err(error) = sent {
            tracing::warn!(peer = %self.urls, error = error.name(), "call failed");
        }
        sent
    }

    async fn send_to(
        &self,
        endpoints: &[Arc<Endpoint>],
        call: &Call<'_>,
        give_up: Instant,
    ) -> Result<Reply, PeerError> {
        let (mut next, mut repeated) = (0, false);
        while let Some(endpoint) = endpoints.get(next) {
            let error = match self.attempt_until(give_up, call, endpoint).await {
                Ok(reply) => return Ok(reply),
                Err(error) => error,
            };
            let has_another = next + 1 < endpoints.len();
            let may_repeat = error == PeerError::Unreachable || (error == PeerError::Broken && call.is_safe);
            if error == PeerError::Unreachable && has_another {
                // No address can have received the call, so that no load multiplies.
                next += 1;
            } else if may_repeat && !repeated && self.budget.withdraw() {
                repeated = true;
                next += usize::from(has_another);
            } else {
                return Err(error);
            }
        }
        // No name resolves.
        Err(PeerError::Unreachable)
    }

    async fn attempt_until(
        &self,
        give_up: Instant,
        call: &Call<'_>,
        endpoint: &Arc<Endpoint>,
    ) -> Result<Reply, PeerError> {
        let open = OpenCall::begin(endpoint, &self.client);
        let attempt = timeout_at(give_up, self.attempt(call, endpoint)).await;
        let result = attempt.unwrap_or(Err(PeerError::Timeout));
        open.end(match result {
            Ok(_) | Err(PeerError::Malformed) => Outcome::Answered,
            Err(PeerError::Unreachable | PeerError::Timeout) => Outcome::Failed,
            Err(PeerError::Broken) => Outcome::Dropped,
        });
        result
    }

    async fn attempt(&self, call: &Call<'_>, endpoint: &Endpoint) -> Result<Reply, PeerError> {
        let target = PathAndQuery::try_from(call.path).map_err(|_| PeerError::Broken)?;
        let uri = endpoint.uri(target).ok_or(PeerError::Broken)?;
        let mut span = CallSpan(call.is_traced.then(|| {
            let target = ClientRequest {
                method: call.method_name(),
                route: call.route,
                host: endpoint.peer().host(),
                port: endpoint.peer().port(),
                url: &format_args!("{}{}", endpoint.peer(), call.path),
            };
            ClientSpan::start(&target, &Context::current()).with_network_peer(endpoint.address())
        }));
        let mut request = Request::new(Full::new(call.body.clone()));
        *request.method_mut() = call.method.clone();
        *request.uri_mut() = uri;
        request.headers_mut().insert(header::HOST, endpoint.host());
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

#[cfg(test)]
mod tests;
