//! Values and leases in the memory of this process.
//!
//! One lock covers the leases and every change of a value, so a delete cannot fall between the check of a lease and the
//! store of its value. Reads of values take no lock. moka alone does not suffice: its `try_get_with` stores the result of a
//! computation although the key was invalidated meanwhile.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use moka::Expiry;
use moka::sync::Cache;

use super::leases::Leases;
use super::storage::{Lookup, Storage, Unavailable};

/// Size of an entry without its key and value: moka's bookkeeping, rounded up.
const ENTRY_OVERHEAD_BYTES: u32 = 200;

/// A storage that ends with its process.
pub(super) struct MemoryStorage {
    values: Cache<String, StoredValue>,
    leases: Mutex<Leases>,
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

impl MemoryStorage {
    /// Returns an empty storage whose values have at most `max_bytes` in total.
    pub(super) fn new(max_bytes: u64) -> Self {
        let values = Cache::builder()
            .max_capacity(max_bytes)
            .weigher(|key: &String, entry: &StoredValue| {
                u32::try_from(key.len() + entry.value.len())
                    .unwrap_or(u32::MAX)
                    .saturating_add(ENTRY_OVERHEAD_BYTES)
            })
            .expire_after(PerEntry)
            .build();
        Self { values, leases: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, Leases> {
        self.leases.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn value(&self, key: &str) -> Option<Bytes> {
        self.values.get(key).map(|stored| stored.value)
    }

    fn value_or_lease(&self, key: &str, lease: Duration) -> Lookup {
        if let Some(value) = self.value(key) {
            return Lookup::Value(value);
        }
        let mut leases = self.lock();
        // Since the first read, the holder of the lease may have stored the value.
        match self.value(key) {
            Some(value) => Lookup::Value(value),
            None => leases.take(key, lease, tokio::time::Instant::now()),
        }
    }
}

impl Storage for MemoryStorage {
    async fn get(&self, key: &str) -> Result<Option<Bytes>, Unavailable> {
        Ok(self.value(key))
    }

    async fn look_up(&self, keys: &[String], lease: Duration) -> Result<Vec<Lookup>, Unavailable> {
        Ok(keys.iter().map(|key| self.value_or_lease(key, lease)).collect())
    }

    async fn set(
        &self,
        key: &str,
        value: Bytes,
        ttl: Duration,
        lease: Option<&str>,
    ) -> Result<bool, Unavailable> {
        let mut leases = self.lock();
        match lease {
            Some(token) if !leases.redeem(key, token, tokio::time::Instant::now()) => return Ok(false),
            Some(_) => {}
            None => leases.end(key),
        }
        self.values.insert(key.to_owned(), StoredValue { value, ttl });
        Ok(true)
    }

    async fn delete(&self, keys: &[String]) -> Result<(), Unavailable> {
        let mut leases = self.lock();
        for key in keys {
            leases.end(key);
            self.values.invalidate(key);
        }
        Ok(())
    }

    async fn is_ready(&self) -> bool {
        true
    }
}
