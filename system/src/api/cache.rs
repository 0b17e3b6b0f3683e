//! Requests and replies of the cache.

use chrono::NaiveDate;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// Body of the cache's `POST /set/{key}`, and its reply to `GET /get/{key}`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct CacheEntry<T = Box<RawValue>> {
    /// Any JSON value.
    pub value: T,
    /// Time to live in seconds; the cache's default if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl_seconds: Option<u64>,
    /// `POST /set/{key}`: the lease of the key. The value is stored only if the lease still exists. Without a lease, the value
    /// is stored in any case.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lease: Option<String>,
}

/// What the cache has for a key: one entry of [`CacheLookups`], and the members of the 404 of `GET /get/{key}?lease_ms=`.
/// At most one member is set; none of them if the storage is not available.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct CacheLookup<T = Box<RawValue>> {
    /// The value.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<T>,
    /// The caller's new lease: the caller computes the value and stores it with this lease.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lease: Option<String>,
    /// Another caller has the lease, which expires after this time in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_ms: Option<u64>,
}

/// Body of the cache's `POST /get`, which looks up several keys as `GET /get/{key}?lease_ms=&wait_ms=` looks up one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReadRequest {
    /// The keys.
    pub keys: Vec<String>,
    /// Length in milliseconds of the lease of each key without a value.
    pub lease_ms: u64,
    /// Maximum wait in milliseconds for values that other callers compute. Ends with the first new lease.
    #[serde(default)]
    pub wait_ms: u64,
}

/// Reply of the cache's `POST /get`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct CacheLookups<T = Box<RawValue>> {
    /// One entry for each key, in the order of the request.
    pub entries: Vec<CacheLookup<T>>,
}

/// Reply of the cache's `POST /set/{key}`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "status", rename_all = "snake_case")]
pub enum SetReply {
    /// The value was stored.
    Ok,
    /// Not stored: the lease has expired, or a delete, another value or a restart of the storage ended it.
    LeaseEnded,
    /// Not stored: the storage is not available.
    Unavailable,
}

/// Body of the cache's `POST /delete`, which also ends the leases of the keys.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeleteRequest {
    /// The keys to delete; unknown ones are ignored.
    pub keys: Vec<String>,
}

/// Returns the cache's key of the free slots of a tutor that start on `day` (UTC).
pub fn slots_key(tutor: i64, day: NaiveDate) -> String {
    format!("slots:{tutor}:{day}")
}
