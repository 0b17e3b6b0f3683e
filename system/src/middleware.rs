//! The layers around the routes of a role.
//!
//! A request passes through them from the outside in, its response from the inside out:
//!
//! 1. Balancer only: CORS. Answers preflight requests by itself, so they have no span and no log line.
//!    Gateway only: `x-served-by`, on every response, errors and timeouts included.
//! 2. [`server::traced`]: the SERVER span, the duration metric and the log line. Outside the deadline, so that a request
//!    that is cut off is recorded with the status that its caller gets. Balancer and frontend, which anyone can call, use
//!    [`server::traced_if`] instead. Routes that are polled use [`server::logged`], without a span: a poll belongs to no
//!    request.
//! 3. The deadline: answers 408 if the body has not arrived, otherwise 504, and drops the handler, which cancels the calls
//!    that it waits for.
//! 4. [`unread`]: reads and discards the part of the body that the handler leaves unread. Innermost, so that it also runs
//!    for a handler that the deadline drops.
//! 5. The routes, with [`problems`] for unknown paths and methods.
//!
//! Health and metrics are added by [`crate::serve`] beside these layers.

use std::pin::pin;
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use axum::middleware::{self, Next};
use axum::response::{IntoResponse as _, Response};
use telemetry::server;
use tokio::time::{Instant, timeout_at};

use crate::error::{Code, Problem};
use crate::unread;

/// Puts the layers of the request path around `routes`. A request that takes longer than `limit`, its body included, is
/// answered with 408 or 504.
pub(crate) fn requests(routes: Router, limit: Duration) -> Router {
    server::traced(bounded(routes, limit, limit))
}

/// Puts the same layers around `routes` that anyone can call. Continues only the traces of callers for which `trusts`
/// returns true.
pub(crate) fn public_requests(
    routes: Router,
    limit: Duration,
    trusts: impl Fn(&Request) -> bool + Clone + Send + Sync + 'static,
) -> Router {
    server::traced_if(bounded(routes, limit, limit), trusts)
}

/// Puts the same layers around `routes`, without a span: for routes that consumers poll. A request may wait for up to `wait`
/// beyond `limit`, but its body must have arrived within `limit`.
pub(crate) fn polls(routes: Router, limit: Duration, wait: Duration) -> Router {
    server::logged(bounded(routes, limit, limit + wait))
}

/// Answers unknown paths and methods with a problem.
pub(crate) fn problems<S: Clone + Send + Sync + 'static>(router: Router<S>) -> Router<S> {
    router
        .fallback(|| async { Problem::from(Code::NotFound) })
        .method_not_allowed_fallback(|| async { Problem::from(Code::MethodNotAllowed) })
}

/// Adds the deadlines and the reader of unread bodies, as one layer: each layer costs every request several allocations.
fn bounded(router: Router, body_limit: Duration, limit: Duration) -> Router {
    router.layer(middleware::from_fn(move |request: Request, next: Next| async move {
        let started = Instant::now();
        let (request, reception) = unread::discard(request, started + body_limit);
        let mut served = pin!(next.run(request));
        if let Ok(response) = timeout_at(started + body_limit, served.as_mut()).await {
            return response;
        }
        if reception.is_awaited() {
            return Problem::from(Code::RequestTimeout).into_response();
        }
        let served: Result<Response, _> = timeout_at(started + limit, served).await;
        served.unwrap_or_else(|_| Problem::from(Code::Timeout).into_response())
    }))
}

#[cfg(test)]
mod tests;
