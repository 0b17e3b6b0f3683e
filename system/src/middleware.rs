//! The layers around the routes of a role.
//!
//! A request passes through them from the outside in, its response from the inside out:
//!
//! 1. Balancer only: CORS. Answers preflight requests by itself, so they have no span and no log line.
//!    Gateway only: `x-served-by`, on every response, errors and timeouts included.
//! 2. [`server::traced`]: the SERVER span, the duration metric and the log line. Outside the deadline, so that a request
//!    that is cut off is recorded with the 504 that its caller gets. Routes that are polled use [`server::logged`],
//!    without a span: a poll belongs to no request.
//! 3. The deadline: answers 504 and drops the handler, which cancels the calls that it waits for.
//! 4. [`unread`]: reads and discards the part of the body that the handler leaves unread. Innermost, so that it also runs
//!    for a handler that the deadline drops.
//! 5. The routes, with [`problems`] for unknown paths and methods.
//!
//! Health and metrics are added by [`crate::serve`] beside these layers.

use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use axum::middleware::{self, Next};
use axum::response::{IntoResponse as _, Response};
use telemetry::server;

use crate::error::{Code, Problem};
use crate::unread;

/// Puts the layers of the request path around `routes`. A request that takes longer than `limit` is answered with 504.
pub(crate) fn requests(routes: Router, limit: Duration) -> Router {
    server::traced(bounded(routes, limit))
}

/// Puts the same layers around `routes`, without a span: for routes that consumers poll.
pub(crate) fn polls(routes: Router, limit: Duration) -> Router {
    server::logged(bounded(routes, limit))
}

/// Answers unknown paths and methods with a problem.
pub(crate) fn problems<S: Clone + Send + Sync + 'static>(router: Router<S>) -> Router<S> {
    router
        .fallback(|| async { Problem::from(Code::NotFound) })
        .method_not_allowed_fallback(|| async { Problem::from(Code::MethodNotAllowed) })
}

/// Adds the deadline and the reader of unread bodies, as one layer: each layer costs every request several allocations.
fn bounded(router: Router, limit: Duration) -> Router {
    router.layer(middleware::from_fn(move |request: Request, next: Next| async move {
        let served: Result<Response, _> =
            tokio::time::timeout(limit, next.run(unread::discard(request))).await;
        served.unwrap_or_else(|_| Problem::from(Code::Timeout).into_response())
    }))
}
