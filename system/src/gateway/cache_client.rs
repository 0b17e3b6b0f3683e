//! Calls to the cache. A cache that fails counts as a miss without a lease: a request is slower, but does not fail.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::http::StatusCode;
use bytes::Bytes;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::value::RawValue;
use tokio::runtime::Handle;

use crate::api::{CacheEntry, CacheLookup, CacheLookups, DeleteRequest, ReadRequest, SetReply};
use crate::peer::Peer;

/// Length of a lease, and so the time for which the others wait for a holder that died.
pub(super) const LEASE: Duration = Duration::from_secs(2);

/// Maximum wait of one call for the value of another holder: a fraction of the deadline of calls to the cache, so that a
/// wait is not taken for a cache that is down.
const WAIT: Duration = Duration::from_millis(100);

/// Client of the cache; clones share it.
#[derive(Debug, Clone)]
pub(super) struct CacheClient(Arc<Peer>);

/// What the cache has for a key.
#[derive(Debug)]
pub(super) enum Lookup {
    /// The value, as JSON text.
    Value(Bytes),
    /// No value. This request computes it and stores it with the lease.
    Leased(Lease),
    /// No value. Another request has the lease.
    Held,
    /// No value and no lease: the cache or its storage is down.
    Down,
}

impl CacheClient {
    pub(super) fn new(peer: Peer) -> Self {
        Self(Arc::new(peer))
    }

    /// Returns the value of `key`, or `None` for a miss.
    ///
    /// # Errors
    ///
    /// Fails if the cache is down.
    pub(super) async fn read(&self, key: &str) -> Result<Option<Bytes>, Down> {
        let path = format!("/get/{}", encoded(key));
        let reply = self.0.look_up("/get/{key}", &path).await.map_err(|_| Down)?;
        match reply.status {
            StatusCode::OK => value(&reply.body).map(Some).ok_or(Down),
            StatusCode::NOT_FOUND => Ok(None),
            _ => Err(Down),
        }
    }

    /// Looks up `key` and takes its lease if it has neither value nor lease. Waits up to [`WAIT`] while another request has
    /// the lease.
    pub(super) async fn claim(&self, key: &str) -> Lookup {
        let (lease_ms, wait_ms) = (milliseconds(LEASE), milliseconds(WAIT));
        let path = format!("/get/{}?lease_ms={lease_ms}&wait_ms={wait_ms}", encoded(key));
        let Ok(reply) = self.0.look_up("/get/{key}", &path).await else { return Lookup::Down };
        match reply.status {
            StatusCode::OK => value(&reply.body).map_or(Lookup::Down, Lookup::Value),
            StatusCode::NOT_FOUND => match serde_json::from_slice(&reply.body) {
                Ok(lookup) => self.lookup(key.to_owned(), lookup),
                Err(_) => Lookup::Down,
            },
            _ => Lookup::Down,
        }
    }

    /// Claims several keys in one call. Returns as soon as this request has a lease.
    pub(super) async fn claim_all(&self, keys: Vec<String>) -> Vec<Lookup> {
        let request = ReadRequest { keys, lease_ms: milliseconds(LEASE), wait_ms: milliseconds(WAIT) };
        let reply =
            self.0.look_up_with("/get", &request).await.and_then(|reply| reply.json::<CacheLookups>());
        let entries = reply.map(|reply| reply.entries).unwrap_or_default();
        let mut entries = entries.into_iter();
        let keys = request.keys.into_iter();
        keys.map(|key| self.lookup(key, entries.next().unwrap_or_default())).collect()
    }

    /// Ends the leases of `keys`, without waiting for the cache. The keys have no values, so deleting them does nothing else.
    fn end_leases(&self, keys: Vec<String>) {
        let (cache, request) = (self.clone(), DeleteRequest { keys });
        if let Ok(runtime) = Handle::try_current() {
            runtime.spawn(async move { cache.0.poll("/delete", &request).await.map(drop) });
        }
    }

    fn lookup(&self, key: String, lookup: CacheLookup) -> Lookup {
        match lookup {
            CacheLookup { value: Some(value), .. } => {
                Lookup::Value(Box::<str>::from(value).into_string().into())
            }
            CacheLookup { lease: Some(token), .. } => {
                let cache = self.clone();
                Lookup::Leased(Lease { cache, key, token, taken_at: Instant::now(), is_settled: false })
            }
            CacheLookup { retry_ms: Some(_), .. } => Lookup::Held,
            CacheLookup { .. } => Lookup::Down,
        }
    }
}

/// The cache did not answer, or not with a value or a miss.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Down;

/// The right to store the value of a key. Returned to the cache when dropped without a value, so that the others need not
/// wait until it expires.
#[derive(Debug)]
pub(super) struct Lease {
    cache: CacheClient,
    key: String,
    token: String,
    taken_at: Instant,
    is_settled: bool,
}

impl Lease {
    /// Stores `value`, which was computed after the lease was taken. Returns false if a delete ended the lease before it
    /// expired, so that the value may be stale. If the cache fails, the next request computes the value again; this one still
    /// succeeds.
    pub(super) async fn store(mut self, value: &RawValue, ttl_seconds: u64) -> bool {
        let path = format!("/set/{}", encoded(&self.key));
        let entry = CacheEntry { value, ttl_seconds: Some(ttl_seconds), lease: Some(self.token.clone()) };
        let reply = self.cache.0.post("/set/{key}", &path, &entry).await;
        self.is_settled = true;
        match reply.and_then(|reply| reply.json::<SetReply>()) {
            Ok(SetReply::LeaseEnded) => self.taken_at.elapsed() >= LEASE,
            Ok(SetReply::Ok | SetReply::Unavailable) => true,
            Err(problem) => {
                tracing::warn!(code = ?problem.code(), key = self.key, "the cache did not store a value");
                true
            }
        }
    }

    /// Returns several leases to the cache in one call, without waiting for its reply.
    pub(super) fn give_back(leases: impl IntoIterator<Item = Self>) {
        let mut cache = None;
        let mut keys = Vec::new();
        for mut lease in leases {
            lease.is_settled = true;
            keys.push(std::mem::take(&mut lease.key));
            cache.get_or_insert_with(|| lease.cache.clone());
        }
        if let Some(cache) = cache {
            cache.end_leases(keys);
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if !self.is_settled {
            self.cache.end_leases(vec![std::mem::take(&mut self.key)]);
        }
    }
}

/// Returns the value in a reply of `GET /get/{key}`, without parsing it: the cache checked it when it was stored.
fn value(body: &Bytes) -> Option<Bytes> {
    let value = body.strip_prefix(b"{\"value\":")?.strip_suffix(b"}")?;
    Some(body.slice_ref(value))
}

fn encoded(key: &str) -> String {
    utf8_percent_encode(key, NON_ALPHANUMERIC).to_string()
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
