//! Cache: the gateways read it before they call search.
//!
//! Its size is bounded, and no value is returned after its time to live. A miss is a 404. A restart empties the cache.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::State;
use axum::routing::{get, post};
use bytes::Bytes;
use clap::Args;
use moka::Expiry;
use moka::future::Cache;
use rand::Rng as _;
use serde_json::value::RawValue;
use telemetry::arguments::at_least;
use tokio_util::sync::CancellationToken;

use crate::api::{CacheEntry, StatusReply};
use crate::app::{self, App, Error};
use crate::error::{Code, Result};
use crate::extract::{Json, Path};
use crate::role::Role;
use crate::{middleware, peer};

/// Maximum size of a value: that of the largest reply that a gateway accepts from search.
const MAX_VALUE_BYTES: usize = peer::MAX_REPLY_BYTES;

const DEFAULT_TTL_SECONDS: u64 = 60;
const MAX_TTL_SECONDS: u64 = 24 * 3600;

/// Size of an entry without its key and value: moka's bookkeeping, rounded up.
const ENTRY_OVERHEAD_BYTES: u32 = 200;

/// Fraction of the time to live by which it is shortened at random, so that entries that were set together do not expire
/// together and cause a burst of queries.
const JITTER: f64 = 0.1;

/// Settings of the cache.
#[derive(Debug, Clone, Args)]
#[group(skip)]
#[command(mut_args(app::Settings::defaults(Role::Cache)))]
pub struct Settings {
    /// Maximum size of all entries, in bytes (at least 65536)
    #[arg(long, env = "CACHE_MAX_BYTES", value_name = "BYTES", default_value_t = 32 << 20, value_parser = at_least(64_u64 << 10))]
    cache_max_bytes: u64,
    /// Process.
    #[command(flatten)]
    pub(crate) process: app::Settings,
}

#[derive(Debug, Clone)]
struct StoredValue {
    value: Bytes,
    ttl: Duration,
}

/// Each entry expires after its own time to live.
struct PerEntry;

impl Expiry<String, StoredValue> for PerEntry {
    fn expire_after_create(&self, _: &String, entry: &StoredValue, _: Instant) -> Option<Duration> {
        Some(entry.ttl)
    }

    fn expire_after_update(
        &self,
        _: &String,
        entry: &StoredValue,
        _: Instant,
        _: Option<Duration>,
    ) -> Option<Duration> {
        Some(entry.ttl)
    }
}

/// Builds the cache.
pub(crate) async fn app(settings: &Settings, _shutdown: CancellationToken) -> Result<App, Error> {
    let routes = router(settings.cache_max_bytes);
    Ok(App::new(middleware::requests(routes, settings.process.request_timeout)))
}

fn router(max_bytes: u64) -> Router {
    let entries = Cache::builder()
        .max_capacity(max_bytes)
        .weigher(|key: &String, entry: &StoredValue| {
            u32::try_from(key.len() + entry.value.len())
                .unwrap_or(u32::MAX)
                .saturating_add(ENTRY_OVERHEAD_BYTES)
        })
        .expire_after(PerEntry)
        .build();
    let router = Router::new().route("/get/{key}", get(read)).route("/set/{key}", post(write));
    middleware::problems(router).with_state(Arc::new(entries))
}

async fn read(
    State(entries): State<Arc<Cache<String, StoredValue>>>,
    Path(key): Path,
) -> Result<axum::response::Response> {
    let entry = entries.get(&key).await.ok_or(Code::NotFound)?;
    // The value is JSON already, so it is copied into its object without being parsed.
    let body = [b"{\"value\":", entry.value.as_ref(), b"}"].concat();
    Ok(axum::response::IntoResponse::into_response((
        [(http::header::CONTENT_TYPE, "application/json")],
        body,
    )))
}

async fn write(
    State(entries): State<Arc<Cache<String, StoredValue>>>,
    Path(key): Path,
    Json(entry): Json<CacheEntry<Box<RawValue>>, MAX_VALUE_BYTES>,
) -> axum::Json<StatusReply> {
    let seconds = entry.ttl_seconds.unwrap_or(DEFAULT_TTL_SECONDS).min(MAX_TTL_SECONDS);
    let ttl = jittered(Duration::from_secs(seconds), rand::rng().random());
    let value = Bytes::copy_from_slice(entry.value.get().as_bytes());
    entries.insert(key, StoredValue { value, ttl }).await;
    axum::Json(StatusReply::ok())
}

/// Shortens `ttl` by up to [`JITTER`]; `random` is in 0..1.
fn jittered(ttl: Duration, random: f64) -> Duration {
    ttl.mul_f64(1.0 - JITTER * random)
}

#[cfg(test)]
mod tests;
