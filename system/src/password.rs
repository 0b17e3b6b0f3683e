//! Password hashes: argon2id with OWASP's lowest-memory parameters of equal strength.
//!
//! Source: OWASP Password Storage Cheat Sheet, argon2id, m = 7 MiB, t = 5, p = 1.

use argon2::password_hash::{PasswordHash, PasswordVerifier as _};
use argon2::{Algorithm, Argon2, Params, Version};

/// Returns the hash function of every password of the system.
pub(crate) fn argon2() -> Argon2<'static> {
    let params = Params::new(7 * 1024, 5, 1, None).unwrap_or_default();
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
}

/// Returns whether `hash` is the hash of `password`. Takes about 10 ms of CPU time: call it outside the async threads.
pub(crate) fn verify(password: &str, hash: &str) -> bool {
    PasswordHash::new(hash).is_ok_and(|hash| argon2().verify_password(password.as_bytes(), &hash).is_ok())
}

/// A well-formed hash of no known password. Verified for unknown users, so that their refusal takes as long as that of a
/// wrong password.
pub(crate) const UNKNOWN_USER: &str =
    "$argon2id$v=19$m=7168,t=5,p=1$bm9ib2R5IGlzIGhlcmU$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_migrated_hash_matches_the_published_password() {
        let rows = include_str!("../migrations/0002_first_rows.sql");
        let hash = rows.split('\'').find(|text| text.starts_with("$argon2id")).unwrap();
        assert!(verify(crate::dataset::PASSWORD, hash));
        assert!(!verify("Password", hash));
    }

    #[test]
    fn the_hash_for_unknown_users_is_well_formed_and_matches_no_password() {
        assert!(PasswordHash::new(UNKNOWN_USER).is_ok());
        assert!(!verify("password", UNKNOWN_USER));
        assert!(!verify("", UNKNOWN_USER));
    }
}
