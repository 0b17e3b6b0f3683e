//! Gateway: the balancer sends it every public request.
//!
//! Promises that nothing but a log-in gets past it without a valid token, that a search costs the database one query
//! at a time for each subject, and that an error is never cached. What it calls being down is 503, slow is 504.

mod auth;
mod flight;
mod search;
#[cfg(test)]
mod tests;
mod token;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderName, HeaderValue, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use telemetry::server;

use crate::api::BookRequest;
use crate::config::{Config, ConfigError};
use crate::error::{Code, Result};
use crate::extract::{self, Json};
use crate::fallback;
use crate::peer::Peer;
use crate::service::{Error, Role, always_ready};
use auth::{Caller, Tokens};
use flight::Flights;

const SERVED_BY: HeaderName = HeaderName::from_static("x-served-by");

/// A cache that takes longer is no help: search is asked instead.
const CACHE_DEADLINE: Duration = Duration::from_millis(500);

/// Password checks at once: each takes 7 MiB and a core.
const PASSWORD_CHECKS: usize = 2;

struct Gateway {
    tokens: Tokens,
    cache: Peer,
    search: Peer,
    booking: Peer,
    flights: Flights,
    search_ttl_seconds: u64,
    password_checks: Arc<tokio::sync::Semaphore>,
}

pub(crate) fn role(config: &Config) -> Result<Role, Error> {
    let gateway = Gateway {
        tokens: Tokens::new(config.jwt_secret()?),
        cache: config.prompt_peer("CACHE_URL", &config.peers.cache, CACHE_DEADLINE)?,
        search: config.peer("SEARCH_URL", &config.peers.search)?,
        booking: config.peer("BOOKING_URL", &config.peers.booking)?,
        flights: Flights::default(),
        search_ttl_seconds: config.search_cache_ttl.as_secs(),
        password_checks: Arc::new(tokio::sync::Semaphore::new(PASSWORD_CHECKS)),
    };
    let served_by = HeaderValue::from_str(&config.instance).map_err(|_| ConfigError::Invalid {
        name: "SERVICE_INSTANCE_ID",
        reason: "not usable in a header".into(),
    })?;
    let routes = fallback::bounded(router(gateway), config.request_timeout);
    let routes =
        server::traced(routes).layer(axum::middleware::map_response(move |mut response: Response| {
            response.headers_mut().insert(SERVED_BY, served_by.clone());
            std::future::ready(response)
        }));
    Ok(Role { routes, ready: always_ready() })
}

fn router(gateway: Gateway) -> Router {
    let router = Router::new()
        .route("/token", post(token::log_in))
        .route("/search", get(search::search))
        .route("/book", post(book))
        .route("/bookings", get(bookings));
    fallback::problems(router).with_state(Arc::new(gateway))
}

async fn book(
    State(gateway): State<Arc<Gateway>>,
    caller: Caller,
    Json(request): Json<BookRequest>,
) -> Result<Response> {
    if request.student_id.0 != caller.student_id {
        return Err(Code::ForbiddenStudent.into());
    }
    let reply = gateway.booking.post("/book", "/book", &request).await?;
    // Read, not only passed on: what is no booking must not look like one.
    reply.json::<crate::api::BookReply>()?;
    Ok(json(reply.body))
}

async fn bookings(State(gateway): State<Arc<Gateway>>, caller: Caller, uri: Uri) -> Result<Response> {
    let query = extract::query(&uri)?;
    let limit: u32 = extract::number(&query, "limit")?.unwrap_or(100);
    let before: i64 = extract::number(&query, "before")?.unwrap_or(i64::MAX);
    let path = format!("/bookings?student_id={}&limit={limit}&before={before}", caller.student_id);
    let reply = gateway.booking.get("/bookings", &path).await?;
    if reply.status != http::StatusCode::OK {
        return Err(reply.json::<serde::de::IgnoredAny>().err().unwrap_or(Code::Internal.into()));
    }
    Ok(json(reply.body))
}

fn json(body: impl Into<Bytes>) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], body.into()).into_response()
}
