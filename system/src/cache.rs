//! Cache: the gateways ask it before they ask search.
//!
//! Promises a bounded size and that no value outlives its time to live. A miss is 404. Nothing survives a restart.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::State;
use axum::routing::{get, post};
use bytes::Bytes;
use moka::Expiry;
use moka::future::Cache;
use rand::Rng as _;
use serde_json::value::RawValue;
use telemetry::server;

use crate::api::CacheEntry;
use crate::config::Config;
use crate::error::{Code, Result};
use crate::extract::{Json, Path};
use crate::service::{Role, always_ready};
use crate::{fallback, peer};

/// As large as the largest reply that a gateway reads from search.
const MAX_VALUE_BYTES: usize = peer::MAX_REPLY_BYTES;

const DEFAULT_TTL_SECONDS: u64 = 60;
const MAX_TTL_SECONDS: u64 = 24 * 3600;

/// What an entry costs besides its key and value; from moka's own bookkeeping, rounded up.
const ENTRY_OVERHEAD_BYTES: u32 = 200;

/// Up to a tenth of the time to live is taken off at random: entries that were set together do not all expire together
/// and send everybody to the database at once.
const JITTER: f64 = 0.1;

#[derive(Debug, Clone)]
struct Entry {
    value: Bytes,
    ttl: Duration,
}

struct PerEntry;

impl Expiry<String, Entry> for PerEntry {
    fn expire_after_create(&self, _: &String, entry: &Entry, _: Instant) -> Option<Duration> {
        Some(entry.ttl)
    }

    fn expire_after_update(
        &self,
        _: &String,
        entry: &Entry,
        _: Instant,
        _: Option<Duration>,
    ) -> Option<Duration> {
        Some(entry.ttl)
    }
}

pub(crate) fn role(config: &Config) -> Role {
    let routes = fallback::bounded(router(config.cache_max_bytes), config.request_timeout);
    Role { routes: server::traced(routes), ready: always_ready() }
}

fn router(max_bytes: u64) -> Router {
    let entries = Cache::builder()
        .max_capacity(max_bytes)
        .weigher(|key: &String, entry: &Entry| {
            u32::try_from(key.len() + entry.value.len())
                .unwrap_or(u32::MAX)
                .saturating_add(ENTRY_OVERHEAD_BYTES)
        })
        .expire_after(PerEntry)
        .build();
    let router = Router::new().route("/get/{key}", get(read)).route("/set/{key}", post(write));
    fallback::problems(router).with_state(Arc::new(entries))
}

async fn read(
    State(entries): State<Arc<Cache<String, Entry>>>,
    Path(key): Path,
) -> Result<axum::response::Response> {
    let entry = entries.get(&key).await.ok_or(Code::NotFound)?;
    // The value is JSON already: it is put into its object as it is.
    let body = [b"{\"value\":", entry.value.as_ref(), b"}"].concat();
    Ok(axum::response::IntoResponse::into_response((
        [(http::header::CONTENT_TYPE, "application/json")],
        body,
    )))
}

async fn write(
    State(entries): State<Arc<Cache<String, Entry>>>,
    Path(key): Path,
    Json(entry): Json<CacheEntry<Box<RawValue>>, MAX_VALUE_BYTES>,
) -> axum::Json<serde_json::Value> {
    let seconds = entry.ttl_seconds.unwrap_or(DEFAULT_TTL_SECONDS).min(MAX_TTL_SECONDS);
    let ttl = jittered(Duration::from_secs(seconds), rand::rng().random());
    let value = Bytes::copy_from_slice(entry.value.get().as_bytes());
    entries.insert(key, Entry { value, ttl }).await;
    axum::Json(serde_json::json!({ "status": "ok" }))
}

/// `random` is in 0..1.
fn jittered(ttl: Duration, random: f64) -> Duration {
    ttl.mul_f64(1.0 - JITTER * random)
}

#[cfg(test)]
mod tests;
