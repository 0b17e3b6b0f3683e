//! Password hashes: argon2id with OWASP's lowest-memory parameters of equal strength.
//!
//! Source: OWASP Password Storage Cheat Sheet, argon2id, m = 7 MiB, t = 5, p = 1.

use argon2::password_hash::{PasswordHash, PasswordVerifier as _};
use argon2::{Algorithm, Argon2, Params, Version};

/// The one way passwords are hashed here.
pub(crate) fn argon2() -> Argon2<'static> {
    let params = Params::new(7 * 1024, 5, 1, None).unwrap_or_default();
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
}

/// Whether `password` is the one behind `hash`. Takes some 10 ms of CPU: not for the async threads.
pub(crate) fn verify(password: &str, hash: &str) -> bool {
    PasswordHash::new(hash).is_ok_and(|hash| argon2().verify_password(password.as_bytes(), &hash).is_ok())
}

/// A hash that no password is behind, so that an unknown user takes as long to refuse as a wrong password.
pub(crate) const NOBODY: &str =
    "$argon2id$v=19$m=7168,t=5,p=1$bm9ib2R5IGlzIGhlcmU$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_rows_hash_is_of_the_published_password() {
        let rows = include_str!("../migrations/0002_first_rows.sql");
        let hash = rows.split('\'').find(|text| text.starts_with("$argon2id")).unwrap();
        assert!(verify(crate::dataset::PASSWORD, hash));
        assert!(!verify("Password", hash));
    }

    #[test]
    fn nobodys_hash_is_well_formed_and_matches_nothing() {
        assert!(PasswordHash::new(NOBODY).is_ok());
        assert!(!verify("password", NOBODY));
        assert!(!verify("", NOBODY));
    }
}
