//! Long polls: a caller waits for the value that another caller computes.

use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use super::storage::{Lookup, Storage, Unavailable};

/// Maximum length of a lease, in milliseconds.
const MAX_LEASE_MS: u64 = 60_000;
/// Maximum wait, in milliseconds. Shorter than the minimum of `REQUEST_TIMEOUT_MS`.
const MAX_WAIT_MS: u64 = 2_000;

/// Pause before the first repeated lookup. Doubles with each pause, up to [`MAX_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(1);
const MAX_PAUSE: Duration = Duration::from_millis(16);

/// How a caller looks up keys that may have no value.
#[derive(Debug, Clone, Copy)]
pub(super) struct LeaseTerms {
    lease: Duration,
    wait: Duration,
}

impl LeaseTerms {
    /// Returns the terms of a request, within the limits.
    pub(super) fn new(lease_ms: u64, wait_ms: u64) -> Self {
        Self {
            lease: Duration::from_millis(lease_ms.clamp(1, MAX_LEASE_MS)),
            wait: Duration::from_millis(wait_ms.min(MAX_WAIT_MS)),
        }
    }
}

/// Looks up `keys`. While other callers have the leases of keys without a value, repeats the lookup of these keys, until the
/// wait is over. Returns at once if the caller got a lease: others now wait for it.
pub(super) async fn look_up(
    storage: &impl Storage,
    keys: &[String],
    terms: LeaseTerms,
) -> Result<Vec<Lookup>, Unavailable> {
    let give_up = Instant::now() + terms.wait;
    let mut found = storage.look_up(keys, terms.lease).await?;
    let mut pause = FIRST_PAUSE;
    let mut wait = None;
    loop {
        let held: Vec<usize> =
            (0..found.len()).filter(|place| matches!(found[*place], Lookup::Held(_))).collect();
        let has_lease = found.iter().any(|lookup| matches!(lookup, Lookup::Leased(_)));
        let now = Instant::now();
        if held.is_empty() || has_lease || now >= give_up {
            return Ok(found);
        }
        wait.get_or_insert_with(|| telemetry::wait_span!("wait fill"));
        sleep_until((now + pause).min(give_up)).await;
        pause = (pause * 2).min(MAX_PAUSE);
        let keys: Vec<String> = held.iter().map(|place| keys[*place].clone()).collect();
        let again = storage.look_up(&keys, terms.lease).await?;
        for (place, lookup) in held.into_iter().zip(again) {
            found[place] = lookup;
        }
    }
}
