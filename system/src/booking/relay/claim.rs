//! The statements of the relay. They have no spans: they belong to no request, or to many.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use sqlx::PgPool;

/// `now()` can be compared by the index, unlike `clock_timestamp()`. A row that another relay claims at this moment is skipped.
const CLAIM: &str = "WITH due AS MATERIALIZED (
        SELECT id, due_at FROM outbox WHERE kind = $1 AND due_at <= now()
        ORDER BY due_at LIMIT $2 FOR UPDATE SKIP LOCKED)
    UPDATE outbox SET due_at = clock_timestamp() + make_interval(secs => $3), publications = publications + 1
    FROM due WHERE outbox.id = due.id
    RETURNING outbox.id, outbox.payload, outbox.otel, outbox.publications,
        extract(epoch FROM clock_timestamp() - due.due_at)::float8";
const RELEASE: &str = "UPDATE outbox SET due_at = clock_timestamp(), publications = publications - 1
    WHERE id = ANY($1)";
const DELETE: &str = "DELETE FROM outbox WHERE id = ANY($1)";
const DEPTH: &str = "SELECT kind, count(*), extract(epoch FROM clock_timestamp() - min(created_at))::float8
    FROM outbox GROUP BY kind";
/// In parts, so that no statement is ended by the timeout of the session.
const PURGE: &str = "DELETE FROM idempotency_keys WHERE (student_id, key) IN (
        SELECT student_id, key FROM idempotency_keys
        WHERE created_at < now() - INTERVAL '24 hours' ORDER BY created_at LIMIT $1)";
const PURGE_PART: i64 = 1000;

/// Maximum time of a statement. The server has its own limit, which a half-open connection does not enforce.
const DEADLINE: Duration = Duration::from_secs(10);

/// A claimed event.
#[derive(Debug)]
pub(super) struct Event {
    pub(super) id: i64,
    /// JSON.
    pub(super) payload: String,
    /// The trace context of the transaction.
    pub(super) otel: BTreeMap<String, String>,
    /// Number of publications, this one included.
    pub(super) publications: i32,
    /// When it became due. For a new event, just before its transaction was committed.
    pub(super) due_since: SystemTime,
}

/// Claims up to `limit` due events of `kind`, oldest first, which are not due again before the end of `claim`.
pub(super) async fn claim(
    pool: &PgPool,
    kind: &str,
    limit: i64,
    claim: Duration,
) -> Result<Vec<Event>, sqlx::Error> {
    let claim = sqlx::query_as(CLAIM).bind(kind).bind(limit).bind(claim.as_secs_f64());
    let rows: Vec<(i64, String, String, i32, f64)> = within_deadline(claim.fetch_all(pool)).await?;
    let now = SystemTime::now();
    let mut events: Vec<Event> = rows
        .into_iter()
        .map(|(id, payload, otel, publications, waited)| Event {
            id,
            payload,
            // An invalid context costs the event its trace, not its publication.
            otel: serde_json::from_str(&otel).unwrap_or_default(),
            publications,
            // As an age, because the clock of the database may differ.
            due_since: now - Duration::try_from_secs_f64(waited).unwrap_or_default(),
        })
        .collect();
    events.sort_unstable_by_key(|event| event.id);
    Ok(events)
}

/// Makes claimed events due at once, because they were not published.
pub(super) async fn release(pool: &PgPool, ids: Vec<i64>) -> Result<(), sqlx::Error> {
    within_deadline(sqlx::query(RELEASE).bind(ids).execute(pool)).await.map(|_| ())
}

/// Deletes events that have had their effect.
pub(super) async fn delete(pool: &PgPool, ids: Vec<i64>) -> Result<(), sqlx::Error> {
    within_deadline(sqlx::query(DELETE).bind(ids).execute(pool)).await.map(|_| ())
}

/// Returns the number of events of each kind and the age of the oldest, in seconds.
pub(super) async fn depth(pool: &PgPool) -> Result<Vec<(String, i64, f64)>, sqlx::Error> {
    within_deadline(sqlx::query_as(DEPTH).fetch_all(pool)).await
}

/// Removes the idempotency keys that are older than 24 hours.
pub(super) async fn purge_idempotency_keys(pool: &PgPool) -> Result<(), sqlx::Error> {
    loop {
        let purge = sqlx::query(PURGE).bind(PURGE_PART).execute(pool);
        let removed = within_deadline(purge).await?.rows_affected();
        if removed > 0 {
            tracing::info!(keys = removed, "expired idempotency keys removed");
        }
        if removed < PURGE_PART as u64 {
            return Ok(());
        }
    }
}

/// Runs a statement, or fails as if the connection had timed out.
pub(super) async fn within_deadline<T>(
    statement: impl Future<Output = Result<T, sqlx::Error>>,
) -> Result<T, sqlx::Error> {
    let late = |_| Err(sqlx::Error::Io(std::io::ErrorKind::TimedOut.into()));
    tokio::time::timeout(DEADLINE, statement).await.unwrap_or_else(late)
}
