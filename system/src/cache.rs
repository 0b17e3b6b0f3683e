//! Cache: the gateways read it before they call search or booking.
//!
//! Its size is bounded, and no value is returned after its time to live or after its deletion. A miss is a 404, and so is a
//! storage that does not answer. With `?lease_ms=`, the first caller that misses gets a lease to compute the value, and the
//! others wait for it.
//!
//! Staleness: booking deletes what a booking or a cancellation changed, through its outbox, after the commit. A value that
//! was computed before a delete is not stored after it (see [`storage`]). So a value is stale for at most the time from the
//! commit to the delete, and for at most its time to live while the outbox or the cache is down.

mod storage;
mod leases;
mod memory;
mod redis_storage;
mod waiting;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, Uri, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use bytes::Bytes;
use clap::Args;
use futures::FutureExt as _;
use rand::Rng as _;
use serde::Serialize;
use serde_json::value::RawValue;
use telemetry::arguments::bytes;
use tokio_util::sync::CancellationToken;

use crate::api::{CacheEntry, CacheLookup, CacheLookups, DeleteRequest, ReadRequest, SetReply, StatusReply};
use crate::app::{self, App, Error};
use crate::error::{Code, Problem, Result};
use crate::extract::{self, Json, Path};
use crate::role::Role;
use crate::settings::{self, Secret, milliseconds};
use crate::{middleware, peer};
use memory::MemoryStorage;
use redis_storage::RedisStorage;
use storage::{Lookup, Storage};
use waiting::LeaseTerms;

/// Maximum size of a value: that of the largest reply that a gateway accepts from search.
const MAX_VALUE_BYTES: usize = peer::MAX_REPLY_BYTES;

/// Maximum size of the keys of a delete, which may be those of many bookings.
const MAX_DELETE_BYTES: usize = 1 << 20;

const DEFAULT_TTL_SECONDS: u64 = 60;
const MAX_TTL_SECONDS: u64 = 24 * 3600;

/// Fraction of the time to live by which it is shortened at random, so that entries that were set together do not expire
/// together and cause a burst of queries.
const JITTER: f64 = 0.1;

/// Range of `REDIS_TIMEOUT_MS`. To connect takes two exchanges, so that the default of three is shorter than the default of
/// `CACHE_TIMEOUT_MS`.
const REDIS_TIMEOUT_MS: std::ops::RangeInclusive<u64> = 10..=60_000;

/// Value of `CACHE_BACKEND` for the storage in memory.
const MEMORY: &str = "memory";

/// Settings of the cache.
#[derive(Debug, Clone, Args)]
#[group(skip)]
#[command(mut_args(app::Settings::defaults(Role::Cache)))]
pub struct Settings {
    /// Storage: `memory`, or redis://HOST:PORT for a Redis that several caches may share
    #[arg(long, env = "CACHE_BACKEND", value_name = "URL", default_value = MEMORY, hide_env_values = true)]
    cache_backend: Secret,
    /// Maximum time of one exchange with Redis, in milliseconds (10 to 60000); after it, the read is a miss
    #[arg(
        id = "redis_timeout_ms", long = "redis-timeout-ms", env = "REDIS_TIMEOUT_MS",
        value_name = "MS", default_value = "150", value_parser = milliseconds(REDIS_TIMEOUT_MS)
    )]
    redis_timeout: Duration,
    /// Maximum size of all entries in memory, in bytes (at least 65536)
    #[arg(long, env = "CACHE_MAX_BYTES", value_name = "BYTES", default_value_t = 32 << 20, value_parser = bytes::<u64>)]
    cache_max_bytes: u64,
    /// Process.
    #[command(flatten)]
    pub(crate) process: app::Settings,
}

/// Builds the cache. It is ready while its storage answers.
pub(crate) async fn app(settings: &Settings, _shutdown: CancellationToken) -> Result<App, Error> {
    match settings.cache_backend.expose().trim() {
        MEMORY => Ok(serve(MemoryStorage::new(settings.cache_max_bytes), settings)),
        url => {
            let invalid = |_| settings::Error::Invalid {
                name: "CACHE_BACKEND",
                reason: "must be `memory` or a URL such as redis://HOST:PORT".into(),
            };
            Ok(serve(RedisStorage::new(url, settings.redis_timeout).map_err(invalid)?, settings))
        }
    }
}

fn serve(storage: impl Storage, settings: &Settings) -> App {
    let storage = Arc::new(storage);
    let routes = middleware::requests(router(Arc::clone(&storage)), settings.process.request_timeout);
    let ready = Arc::new(move || {
        let storage = Arc::clone(&storage);
        async move { storage.is_ready().await }.boxed()
    });
    App { ready, ..App::new(routes) }
}

fn router<S: Storage>(storage: Arc<S>) -> Router {
    let router = Router::new()
        .route("/get", post(read_many::<S>))
        .route("/get/{key}", get(read::<S>))
        .route("/set/{key}", post(write::<S>))
        .route("/delete", post(delete::<S>));
    middleware::problems(router).with_state(storage)
}

async fn read<S: Storage>(State(storage): State<Arc<S>>, Path(key): Path, uri: Uri) -> Result<Response> {
    let query = extract::query(&uri)?;
    let Some(lease_ms) = extract::number(&query, "lease_ms")? else {
        let found = storage.get(&key).await.ok().flatten();
        return Ok(value(&found.ok_or(Code::NotFound)?));
    };
    let wait_ms = extract::number(&query, "wait_ms")?.unwrap_or(0);
    let found = waiting::look_up(&*storage, &[key], LeaseTerms::new(lease_ms, wait_ms)).await;
    match found.ok().and_then(|mut found| found.pop()) {
        Some(Lookup::Value(found)) => Ok(value(&found)),
        Some(miss) => Ok(miss_reply(miss)),
        None => Err(Code::NotFound.into()),
    }
}

/// The value is JSON already, so it is copied into its object without being parsed.
fn value(value: &Bytes) -> Response {
    let body = [b"{\"value\":", value.as_ref(), b"}"].concat();
    ([(header::CONTENT_TYPE, "application/json")], body).into_response()
}

/// Returns the 404 of a miss: a problem with the members of a [`CacheLookup`].
fn miss_reply(miss: Lookup) -> Response {
    #[derive(Serialize)]
    struct Body {
        code: Code,
        status: u16,
        #[serde(flatten)]
        miss: CacheLookup,
    }
    let status = StatusCode::NOT_FOUND;
    let miss = CacheLookup { value: None, ..on_the_wire(miss) };
    let body = Body { code: Code::NotFound, status: status.as_u16(), miss };
    (status, [(header::CONTENT_TYPE, "application/problem+json")], axum::Json(body)).into_response()
}

async fn read_many<S: Storage>(
    State(storage): State<Arc<S>>,
    Json(request): Json<ReadRequest>,
) -> axum::Json<CacheLookups> {
    let terms = LeaseTerms::new(request.lease_ms, request.wait_ms);
    let entries = match waiting::look_up(&*storage, &request.keys, terms).await {
        Ok(found) => found.into_iter().map(on_the_wire).collect(),
        Err(_) => request.keys.iter().map(|_| CacheLookup::default()).collect(),
    };
    axum::Json(CacheLookups { entries })
}

fn on_the_wire(lookup: Lookup) -> CacheLookup {
    match lookup {
        Lookup::Value(value) => {
            CacheLookup { value: serde_json::from_slice(&value).ok(), ..CacheLookup::default() }
        }
        Lookup::Leased(token) => CacheLookup { lease: Some(token), ..CacheLookup::default() },
        Lookup::Held(left) => {
            let retry_ms = u64::try_from(left.as_millis()).unwrap_or(u64::MAX);
            CacheLookup { retry_ms: Some(retry_ms), ..CacheLookup::default() }
        }
    }
}

async fn write<S: Storage>(
    State(storage): State<Arc<S>>,
    Path(key): Path,
    Json(entry): Json<CacheEntry<Box<RawValue>>, MAX_VALUE_BYTES>,
) -> axum::Json<SetReply> {
    let seconds = entry.ttl_seconds.unwrap_or(DEFAULT_TTL_SECONDS).min(MAX_TTL_SECONDS);
    let ttl = jittered(Duration::from_secs(seconds), rand::rng().random());
    let value = Bytes::copy_from_slice(entry.value.get().as_bytes());
    axum::Json(match storage.set(&key, value, ttl, entry.lease.as_deref()).await {
        Ok(true) => SetReply::Ok,
        Ok(false) => SetReply::LeaseEnded,
        Err(_) => SetReply::Unavailable,
    })
}

async fn delete<S: Storage>(
    State(storage): State<Arc<S>>,
    Json(request): Json<DeleteRequest, MAX_DELETE_BYTES>,
) -> Result<axum::Json<StatusReply>> {
    storage.delete(&request.keys).await.map_err(|_| Problem::from(Code::Unavailable))?;
    Ok(axum::Json(StatusReply::ok()))
}

/// Shortens `ttl` by up to [`JITTER`]; `random` is in 0..1.
fn jittered(ttl: Duration, random: f64) -> Duration {
    ttl.mul_f64(1.0 - JITTER * random)
}

#[cfg(test)]
pub(crate) mod redis_server;
#[cfg(test)]
mod tests;
