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
use observability::server;
use rand::Rng as _;
use serde_json::value::RawValue;

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
mod tests {
    use axum::body::{Body, to_bytes};
    use axum::http::{Request, StatusCode};
    use tower::ServiceExt as _;

    use super::*;

    async fn call(router: &Router, method: &str, path: &str, body: &str) -> (StatusCode, String) {
        let request = Request::builder().method(method).uri(path).body(Body::from(body.to_owned())).unwrap();
        let response = router.clone().oneshot(request).await.unwrap();
        let status = response.status();
        let body = to_bytes(response.into_body(), usize::MAX).await.unwrap();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn what_was_set_is_got_and_what_was_not_is_404() {
        let router = router(1 << 20);
        assert_eq!(call(&router, "GET", "/get/search%3AMath", "").await.0, StatusCode::NOT_FOUND);
        let (status, _) = call(&router, "POST", "/set/search%3AMath", r#"{"value":[{"id":1}]}"#).await;
        assert_eq!(status, StatusCode::OK);
        let (status, body) = call(&router, "GET", "/get/search%3AMath", "").await;
        assert_eq!((status, body.as_str()), (StatusCode::OK, r#"{"value":[{"id":1}]}"#));
    }

    #[tokio::test]
    async fn a_value_of_no_time_to_live_is_not_served() {
        let router = router(1 << 20);
        call(&router, "POST", "/set/k", r#"{"value":1,"ttl_seconds":0}"#).await;
        assert_eq!(call(&router, "GET", "/get/k", "").await.0, StatusCode::NOT_FOUND);
    }

    #[tokio::test]
    async fn what_is_no_entry_is_refused() {
        let router = router(1 << 20);
        assert_eq!(call(&router, "POST", "/set/k", r#"{"value":"#).await.0, StatusCode::BAD_REQUEST);
        assert_eq!(call(&router, "POST", "/set/k", "{}").await.0, StatusCode::UNPROCESSABLE_ENTITY);
        let sized = |length| format!(r#"{{"value":"{}"}}"#, "x".repeat(length));
        assert_eq!(call(&router, "POST", "/set/k", &sized(1 << 20)).await.0, StatusCode::OK);
        assert_eq!(
            call(&router, "POST", "/set/k", &sized(MAX_VALUE_BYTES)).await.0,
            StatusCode::PAYLOAD_TOO_LARGE
        );
    }

    #[test]
    fn jitter_only_shortens() {
        let ttl = Duration::from_secs(100);
        assert_eq!(jittered(ttl, 0.0), ttl);
        assert_eq!(jittered(ttl, 1.0), Duration::from_secs(90));
    }
}
