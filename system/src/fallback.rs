//! What every router does whatever its routes do: answer outside of them, in time, and read what was sent.

use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use axum::middleware::{self, Next};
use axum::response::{IntoResponse as _, Response};

use crate::drain::drained;
use crate::error::{Code, Problem};

/// Unknown paths and methods answer as problems, too.
pub(crate) fn problems<S: Clone + Send + Sync + 'static>(router: Router<S>) -> Router<S> {
    router
        .fallback(|| async { Problem::from(Code::NotFound) })
        .method_not_allowed_fallback(|| async { Problem::from(Code::MethodNotAllowed) })
}

/// Requests that take longer than `limit` answer 504, and what they were doing is dropped; what a handler leaves of a
/// body is read on. One layer for both: each costs every request several allocations.
pub(crate) fn bounded(router: Router, limit: Duration) -> Router {
    router.layer(middleware::from_fn(move |request: Request, next: Next| async move {
        let served: Result<Response, _> = tokio::time::timeout(limit, next.run(drained(request))).await;
        served.unwrap_or_else(|_| Problem::from(Code::Timeout).into_response())
    }))
}
