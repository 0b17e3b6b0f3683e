//! The first reply to each `Idempotency-Key`, which is stored with the booking and repeated for 24 hours.
//!
//! A key belongs to a student and to one request. While the first request runs, its transaction holds an advisory lock, so
//! that a second one is refused at once instead of waiting for a lock of a row.

use std::time::Duration;

use sqlx::{PgPool, Postgres, Transaction};
use tokio::time::interval;
use tokio_util::sync::CancellationToken;

use crate::api::BookRequest;
use crate::database;
use crate::error::{Code, Problem};

/// The student's id is the seed of the hash, so that the same key of two students is two locks.
const LOCK: &str = "SELECT pg_try_advisory_xact_lock(hashtextextended($2, $1))";

/// Not in the statement of the lock, whose snapshot may be older than the commit of the previous holder.
const FIND: &str = "SELECT fingerprint, reply FROM idempotency_keys
    WHERE student_id = $1 AND key = $2 AND created_at > clock_timestamp() - INTERVAL '24 hours'";

/// Replaces a reply that has expired.
const STORE: &str =
    "INSERT INTO idempotency_keys (student_id, key, fingerprint, reply) VALUES ($1, $2, $3, $4)
    ON CONFLICT (student_id, key) DO UPDATE
    SET fingerprint = excluded.fingerprint, reply = excluded.reply, created_at = excluded.created_at";

/// The rows of one statement are limited, so that it ends within the session's `statement_timeout` after a long downtime, too.
const EXPIRE: &str = "DELETE FROM idempotency_keys WHERE (student_id, key) IN (
    SELECT student_id, key FROM idempotency_keys WHERE created_at <= now() - INTERVAL '24 hours'
    ORDER BY created_at LIMIT 10000 FOR UPDATE SKIP LOCKED)";

/// Interval between two deletions of expired replies.
const EXPIRY_INTERVAL: Duration = Duration::from_secs(60);

/// Deletes expired replies until `stop`.
pub(super) async fn expire(pool: PgPool, stop: CancellationToken) {
    let mut ticks = interval(EXPIRY_INTERVAL);
    while stop.run_until_cancelled(ticks.tick()).await.is_some() {
        // Without a span, since this belongs to no request.
        if let Err(error) = sqlx::query(EXPIRE).execute(&pool).await {
            tracing::warn!(%error, "cannot delete expired idempotency keys");
        }
    }
}

/// Locks the key until the end of the transaction and returns its reply, if it has one.
///
/// # Errors
///
/// `key_in_flight` while another request with the key runs; `key_reused` if the key was used for another request.
pub(super) async fn claim(
    transaction: &mut Transaction<'_, Postgres>,
    request: &BookRequest,
    key: &str,
) -> Result<Option<String>, Problem> {
    let student = request.student_id.0;
    let lock = sqlx::query_scalar(LOCK).bind(student).bind(key).fetch_one(&mut **transaction);
    let locked: bool = database::query("SELECT pg_try_advisory_xact_lock", LOCK, lock)
        .await
        .map_err(|error| database::problem(&error))?;
    if !locked {
        return Err(Code::KeyInFlight.into());
    }
    let find = sqlx::query_as(FIND).bind(student).bind(key).fetch_optional(&mut **transaction);
    let stored: Option<(String, String)> = database::query("SELECT idempotency_keys", FIND, find)
        .await
        .map_err(|error| database::problem(&error))?;
    match stored {
        Some((used_for, _)) if used_for != fingerprint(request) => Err(Code::KeyReused.into()),
        stored => Ok(stored.map(|(_, reply)| reply)),
    }
}

/// Stores the reply to a request with a key.
pub(super) async fn store(
    transaction: &mut Transaction<'_, Postgres>,
    request: &BookRequest,
    key: &str,
    reply: &str,
) -> Result<(), sqlx::Error> {
    let student = request.student_id.0;
    let store = sqlx::query(STORE).bind(student).bind(key).bind(fingerprint(request)).bind(reply);
    database::query("INSERT idempotency_keys", STORE, store.execute(&mut **transaction)).await.map(|_| ())
}

/// Returns what was requested in one canonical form: equal for a number and a numeric string, and for one instant in two
/// zones.
fn fingerprint(request: &BookRequest) -> String {
    let tutor = request.tutor_id;
    match request.starts_at {
        Some(starts_at) => format!("book tutor {tutor} at {}", starts_at.to_rfc3339()),
        None => format!("book tutor {tutor} at the earliest time"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fingerprint_depends_on_the_meaning_of_the_request_only() {
        let of = |body: &str| fingerprint(&serde_json::from_str(body).unwrap());
        let first = of(r#"{"student_id":1,"tutor_id":2,"starts_at":"2026-12-01T10:00:00+01:00"}"#);
        assert_eq!(
            first,
            of(r#"{"starts_at":"2026-12-01T09:00:00.0z","tutor_id":"2","student_id":"1","x":1}"#)
        );
        for other in [
            r#"{"student_id":1,"tutor_id":3,"starts_at":"2026-12-01T10:00:00+01:00"}"#,
            r#"{"student_id":1,"tutor_id":2,"starts_at":"2026-12-01T10:00:00Z"}"#,
            r#"{"student_id":1,"tutor_id":2}"#,
        ] {
            assert_ne!(first, of(other), "{other}");
        }
    }
}
