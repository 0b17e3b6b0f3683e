//! The leases of the storage in memory. A pure policy: the caller passes the time.

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::Instant;

use super::storage::{Lookup, new_token};

/// Number of leases above which expired ones are removed.
const MIN_PURGE: usize = 1024;

/// The leases, by key.
#[derive(Debug, Default)]
pub(super) struct Leases {
    by_key: HashMap<String, Lease>,
    /// Number of leases at which expired ones are removed next. Doubles with the leases in use, so that a removal visits few
    /// leases for each new one.
    purge_at: usize,
}

#[derive(Debug)]
struct Lease {
    token: String,
    expires_at: Instant,
}

impl Leases {
    /// Takes the lease of `key` for `length`, or returns the remaining time of the existing one.
    pub(super) fn take(&mut self, key: &str, length: Duration, now: Instant) -> Lookup {
        if let Some(lease) = self.by_key.get(key).filter(|lease| now < lease.expires_at) {
            return Lookup::Held(lease.expires_at - now);
        }
        if self.by_key.len() >= self.purge_at {
            self.by_key.retain(|_, lease| now < lease.expires_at);
            self.purge_at = (self.by_key.len() * 2).max(MIN_PURGE);
        }
        let token = new_token();
        self.by_key.insert(key.to_owned(), Lease { token: token.clone(), expires_at: now + length });
        Lookup::Leased(token)
    }

    /// Ends the lease of `key` if `token` is its token. Returns false if that lease does not exist.
    pub(super) fn redeem(&mut self, key: &str, token: &str, now: Instant) -> bool {
        let exists = self.by_key.get(key).is_some_and(|lease| lease.token == token && now < lease.expires_at);
        if exists {
            self.by_key.remove(key);
        }
        exists
    }

    /// Ends the lease of `key`, if there is one.
    pub(super) fn end(&mut self, key: &str) {
        self.by_key.remove(key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_lease_has_one_holder_until_it_expires() {
        let (mut leases, start) = (Leases::default(), Instant::now());
        let Lookup::Leased(first) = leases.take("k", SECOND, start) else { panic!("no lease") };
        let half = start + SECOND / 2;
        assert_eq!(leases.take("k", SECOND, half), Lookup::Held(SECOND / 2));
        assert!(matches!(leases.take("other", SECOND, half), Lookup::Leased(_)));
        let Lookup::Leased(second) = leases.take("k", SECOND, start + SECOND) else { panic!("no lease") };
        assert!(!leases.redeem("k", &first, start + SECOND), "the first lease has expired");
        assert!(leases.redeem("k", &second, start + SECOND));
        assert!(!leases.redeem("k", &second, start + SECOND), "a lease is redeemed once");
    }

    #[test]
    fn an_expired_lease_cannot_be_redeemed_though_no_other_was_taken() {
        let (mut leases, start) = (Leases::default(), Instant::now());
        let Lookup::Leased(token) = leases.take("k", SECOND, start) else { panic!("no lease") };
        assert!(!leases.redeem("k", &token, start + SECOND));
    }

    #[test]
    fn expired_leases_are_removed() {
        let (mut leases, start) = (Leases::default(), Instant::now());
        for key in 0..10 * MIN_PURGE {
            leases.take(&key.to_string(), SECOND, start + SECOND * u32::try_from(key).unwrap());
        }
        assert!(leases.by_key.len() <= MIN_PURGE, "{}", leases.by_key.len());
    }
}
