//! Gateway: the balancer forwards every public request to it.
//!
//! Every request except a log-in and the list of subjects needs a valid token. Searches and free slots are cached: concurrent
//! requests for one key share one query, over all gateways, and errors are not cached (see [`cache_aside`]). Answers 503 if a role that it calls is down, 504 if that role is too slow.

mod token;
mod login;
mod flight;
mod cache_client;
mod cache_aside;
mod search;
mod slots;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderValue, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};
use clap::Args;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::api::{BookReply, BookRequest, CancelReply, IDEMPOTENCY_KEY, SERVED_BY};
use crate::app::{self, App, Error};
use crate::error::{Code, Result};
use crate::extract::{self, IdempotencyKey, Json};
use crate::middleware;
use crate::peer::{BaseUrls, Peer};
use crate::role::Role;
use crate::settings::{self, Secret, milliseconds, seconds};
use cache_aside::CacheAside;
use cache_client::CacheClient;
use token::{Caller, TokenKeys};

/// Range of `CACHE_TIMEOUT_MS`. The minimum exceeds the longest wait of the cache for the holder of a lease (100 ms).
const CACHE_TIMEOUT_MS: std::ops::RangeInclusive<u64> = 200..=60_000;

/// Maximum number of concurrent password checks; each uses 7 MiB and a core.
const PASSWORD_CHECKS: usize = 2;

/// Minimum length of the key that signs tokens, in bytes.
const MIN_SECRET_BYTES: usize = 32;
const SECRET_HINT: &str =
    "set it (or JWT_SECRET_FILE) to at least 32 random bytes, the same for every gateway";

/// Settings of a gateway.
#[derive(Debug, Clone, Args)]
#[group(skip)]
#[command(mut_args(app::Settings::defaults(Role::Gateway)))]
pub struct Settings {
    /// Key that signs the tokens: at least 32 bytes, the same for every gateway
    #[arg(long, env = "JWT_SECRET", value_name = "SECRET", hide_env_values = true)]
    jwt_secret: Option<Secret>,
    /// File that contains the key that signs the tokens; takes precedence over --jwt-secret
    #[arg(long, env = "JWT_SECRET_FILE", value_name = "FILE")]
    jwt_secret_file: Option<PathBuf>,
    /// Base URLs of the cache, separated by commas; a name may have several addresses
    #[arg(long, env = "CACHE_URL", value_name = "URLS", default_value = Role::Cache.url())]
    cache_url: BaseUrls,
    /// Base URLs of the search service, separated by commas; a name may have several addresses
    #[arg(long, env = "SEARCH_URL", value_name = "URLS", default_value = Role::Search.url())]
    search_url: BaseUrls,
    /// Base URLs of the booking service, separated by commas; a name may have several addresses
    #[arg(long, env = "BOOKING_URL", value_name = "URLS", default_value = Role::Booking.url())]
    booking_url: BaseUrls,
    /// Time to live of a cached search result, in seconds
    #[arg(
        id = "search_cache_ttl_seconds", long = "search-cache-ttl-seconds", env = "SEARCH_CACHE_TTL_SECONDS",
        value_name = "SECONDS", default_value = "30", value_parser = seconds
    )]
    search_cache_ttl: Duration,
    /// Time to live of a tutor's cached free slots of a day, in seconds
    #[arg(
        id = "slots_cache_ttl_seconds", long = "slots-cache-ttl-seconds", env = "SLOTS_CACHE_TTL_SECONDS",
        value_name = "SECONDS", default_value = "30", value_parser = seconds
    )]
    slots_cache_ttl: Duration,
    /// Maximum wait for the cache, in milliseconds (200 to 60000); after it, the read counts as a miss
    #[arg(
        id = "cache_timeout_ms", long = "cache-timeout-ms", env = "CACHE_TIMEOUT_MS",
        value_name = "MS", default_value = "500", value_parser = milliseconds(CACHE_TIMEOUT_MS)
    )]
    cache_timeout: Duration,
    /// Process.
    #[command(flatten)]
    pub(crate) process: app::Settings,
}

impl Settings {
    fn jwt_secret(&self) -> Result<Secret, settings::Error> {
        const NAME: &str = "JWT_SECRET";
        let (value, file) = (self.jwt_secret.as_ref(), self.jwt_secret_file.as_deref());
        let secret = settings::secret(NAME, value, file, SECRET_HINT)?;
        if secret.expose().len() < MIN_SECRET_BYTES {
            let reason = format!("must have at least {MIN_SECRET_BYTES} bytes");
            return Err(settings::Error::Invalid { name: NAME, reason });
        }
        Ok(secret)
    }
}

struct Gateway {
    tokens: TokenKeys,
    cache: CacheAside,
    search: Peer,
    booking: Peer,
    search_ttl_seconds: u64,
    slots_ttl_seconds: u64,
    password_checks: Arc<Semaphore>,
}

/// Builds a gateway.
pub(crate) async fn app(settings: &Settings, _shutdown: CancellationToken) -> Result<App, Error> {
    let limit = settings.process.request_timeout;
    let gateway = Gateway {
        tokens: TokenKeys::new(settings.jwt_secret()?.expose()),
        cache: CacheAside::new(CacheClient::new(Peer::new(&settings.cache_url, settings.cache_timeout))),
        search: Peer::new(&settings.search_url, limit),
        booking: Peer::new(&settings.booking_url, limit),
        search_ttl_seconds: settings.search_cache_ttl.as_secs(),
        slots_ttl_seconds: settings.slots_cache_ttl.as_secs(),
        password_checks: Arc::new(Semaphore::new(PASSWORD_CHECKS)),
    };
    let instance = HeaderValue::from_str(&settings.process.service_instance_id);
    let instance = instance.map_err(|_| settings::Error::Invalid {
        name: "SERVICE_INSTANCE_ID",
        reason: "must contain only visible ASCII characters, for the header x-served-by".into(),
    })?;
    let served_by = axum::middleware::map_response(move |mut response: Response| {
        response.headers_mut().insert(SERVED_BY, instance.clone());
        std::future::ready(response)
    });
    Ok(App::new(middleware::requests(router(gateway), limit).layer(served_by)))
}

fn router(gateway: Gateway) -> Router {
    let router = Router::new()
        .route("/token", post(login::log_in))
        .route("/search", get(search::search))
        .route("/subjects", get(search::subjects))
        .route("/book", post(book))
        .route("/bookings", get(bookings))
        .route("/bookings/{id}", delete(cancel))
        .route("/tutors/{id}/slots", get(slots::slots));
    middleware::problems(router).with_state(Arc::new(gateway))
}

async fn book(
    State(gateway): State<Arc<Gateway>>,
    caller: Caller,
    key: Option<IdempotencyKey>,
    Json(request): Json<BookRequest>,
) -> Result<Response> {
    if request.student_id.0 != caller.student_id {
        return Err(Code::ForbiddenStudent.into());
    }
    let key = key.map(|key| (IDEMPOTENCY_KEY, key.header));
    let reply = gateway.booking.post_with("/book", "/book", key, &request).await?;
    // Parsed as a check: a reply that is not a booking must not reach the caller as a success.
    reply.json::<BookReply>()?;
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

async fn cancel(
    State(gateway): State<Arc<Gateway>>,
    caller: Caller,
    extract::Path(booking): extract::Path,
) -> Result<Response> {
    let booking: i64 = booking.parse().map_err(|_| Code::NotFound)?;
    let path = format!("/bookings/{booking}?student_id={}", caller.student_id);
    let reply = gateway.booking.delete("/bookings/{id}", &path).await?;
    reply.json::<CancelReply>()?;
    Ok(json(reply.body))
}

fn json(body: impl Into<Bytes>) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], body.into()).into_response()
}

#[cfg(test)]
mod tests;
