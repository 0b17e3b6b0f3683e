//! What the cache needs of a storage: values that expire, and leases that exclude stale fills.
//!
//! A caller that misses takes a lease before it computes the value, and stores the value with the lease. A delete ends the
//! lease, so a value that was computed before the delete is not stored after it. A restart of the storage ends all leases,
//! since it may have lost deletes. A mark that a delete leaves behind (a tombstone) would be lost with the storage.

use std::time::Duration;

use bytes::Bytes;
use rand::Rng as _;

/// What a storage has for a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Lookup {
    /// The value, as JSON text.
    Value(Bytes),
    /// No value; the caller now has the lease with this token.
    Leased(String),
    /// No value; another caller has the lease, which expires after this time.
    Held(Duration),
}

/// The storage does not answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Unavailable;

/// A storage. Each operation is atomic for each key; clones of the process that share a storage share values and leases.
pub(super) trait Storage: Send + Sync + 'static {
    /// Returns the value of `key`, if there is one.
    fn get(&self, key: &str) -> impl Future<Output = Result<Option<Bytes>, Unavailable>> + Send;

    /// Returns what there is for each of `keys`. A key with neither value nor lease gets a lease that lasts for `lease`.
    fn look_up(
        &self,
        keys: &[String],
        lease: Duration,
    ) -> impl Future<Output = Result<Vec<Lookup>, Unavailable>> + Send;

    /// Stores `value` for `ttl` and ends the lease of the key. If `lease` is the token of a lease that has ended, stores
    /// nothing and returns false.
    fn set(
        &self,
        key: &str,
        value: Bytes,
        ttl: Duration,
        lease: Option<&str>,
    ) -> impl Future<Output = Result<bool, Unavailable>> + Send;

    /// Deletes the values of `keys` and ends their leases.
    fn delete(&self, keys: &[String]) -> impl Future<Output = Result<(), Unavailable>> + Send;

    /// Returns whether the storage answers.
    fn is_ready(&self) -> impl Future<Output = bool> + Send;
}

/// Returns a token that no other lease has, not even one of an earlier process.
pub(super) fn new_token() -> String {
    format!("{:032x}", rand::rng().random::<u128>())
}

#[cfg(test)]
mod tests;
