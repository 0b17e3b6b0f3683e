//! Cache-aside reads: the cache first; on a miss, one query for all requests of all gateways.
//!
//! Inside a gateway, one request leads (see [`super::flight`]). Across gateways, the leader that gets the key's lease from the
//! cache queries and stores the value; the others wait for the value in the cache. If the holder dies, its lease expires, and
//! the next leader that takes it queries. While the cache is down there are no leases: queries are limited by permits and
//! their results are not stored.

use std::time::Duration;

use bytes::Bytes;
use serde_json::value::RawValue;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::Instant;

use super::cache_client::{CacheClient, Lease, Lookup};
use super::flight::{Answer, Flights, Participant};
use crate::error::{Problem, Result};

/// Maximum wait for the value of another holder: longer than a lease. After it, the request queries without a lease.
pub(super) const MAX_WAIT: Duration = Duration::from_secs(3);

/// Maximum number of concurrent queries without a lease.
const UNLEASED_QUERIES: usize = 8;

/// The cache with its flights and permits.
#[derive(Debug)]
pub(super) struct CacheAside {
    pub(super) client: CacheClient,
    flights: Flights,
    unleased: Semaphore,
}

impl CacheAside {
    pub(super) fn new(client: CacheClient) -> Self {
        Self { client, flights: Flights::default(), unleased: Semaphore::new(UNLEASED_QUERIES) }
    }

    /// Returns the value of `key` from the cache, or the result of `query`, which is then stored for `ttl_seconds`.
    pub(super) async fn read_or_query(
        &self,
        key: &str,
        ttl_seconds: u64,
        query: impl Future<Output = Result<Bytes>>,
    ) -> Result<Answer> {
        let mut seat = self.flights.join(key);
        let lookup = if seat.leads() {
            match self.client.claim(key).await {
                Lookup::Value(value) => return Ok(Answer { cached: true, value }),
                lookup => lookup,
            }
        } else {
            let read = self.client.read(key).await;
            if let Ok(Some(value)) = read {
                return Ok(Answer { cached: true, value });
            }
            if let Some(answer) = seat.answer_or_lead().await {
                return Ok(answer);
            }
            if read.is_ok() { self.client.claim(key).await } else { Lookup::Down }
        };
        let lookup = self.wait_for_holder(key, lookup).await;
        let answer = match lookup {
            Lookup::Value(value) => Answer { cached: true, value },
            Lookup::Leased(lease) => return fill(&seat, lease, ttl_seconds, query).await,
            Lookup::Held | Lookup::Down => {
                let _permit = self.unleased_permit().await?;
                Answer { cached: false, value: query.await? }
            }
        };
        seat.share(answer.clone());
        Ok(answer)
    }

    /// Repeats the lookup while another request has the lease, for up to [`MAX_WAIT`].
    async fn wait_for_holder(&self, key: &str, mut lookup: Lookup) -> Lookup {
        let give_up = Instant::now() + MAX_WAIT;
        while matches!(lookup, Lookup::Held) && Instant::now() < give_up {
            lookup = self.client.claim(key).await;
        }
        lookup
    }

    /// Waits for the permit of a query without a lease.
    pub(super) async fn unleased_permit(&self) -> Result<SemaphorePermit<'_>> {
        let wait = telemetry::wait_span!("wait permit");
        let permit = self.unleased.acquire().await.map_err(Problem::internal);
        drop(wait);
        permit
    }
}

/// Queries and stores the value. Shares it with the flight, unless a delete ended the lease meanwhile: a request that came
/// after the delete may wait for the flight, and the next leader queries for it.
async fn fill(
    seat: &Participant<'_>,
    lease: Lease,
    ttl_seconds: u64,
    query: impl Future<Output = Result<Bytes>>,
) -> Result<Answer> {
    let answer = Answer { cached: false, value: query.await? };
    let value: &RawValue = serde_json::from_slice(&answer.value).map_err(Problem::internal)?;
    if lease.store(value, ttl_seconds).await {
        seat.share(answer.clone());
    }
    Ok(answer)
}
