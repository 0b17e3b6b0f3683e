//! Bookings over any port, and a lock that stops them halfway.

use reqwest::RequestBuilder;
use reqwest::header::HeaderMap;
use serde_json::Value;
use sqlx::{PgPool, Postgres, Transaction};

use super::eventually_without;

/// A complete reply.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    /// Byte for byte.
    pub(crate) text: String,
    pub(crate) json: Value,
}

impl Answer {
    /// Status and problem code of a refusal.
    pub(crate) fn refusal(&self) -> (u16, &str) {
        (self.status, self.json["code"].as_str().unwrap_or_default())
    }
}

/// Sends a request and reads its reply, which is JSON.
pub(crate) async fn answer(request: RequestBuilder) -> Answer {
    let reply = request.send().await.unwrap();
    let (status, headers) = (reply.status().as_u16(), reply.headers().clone());
    let text = reply.text().await.unwrap();
    let json = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
    Answer { status, headers, text, json }
}

pub(crate) async fn count_bookings(database: &PgPool) -> i64 {
    sqlx::query_scalar("SELECT count(*) FROM bookings").fetch_one(database).await.unwrap()
}

/// Lets no lesson be inserted: a booking waits after it has locked tutor and student. Released when dropped or after 2 s, the
/// `lock_timeout` of the sessions.
pub(crate) struct BookingsLock<'a> {
    database: &'a PgPool,
    transaction: Transaction<'a, Postgres>,
}

impl<'a> BookingsLock<'a> {
    pub(crate) async fn acquire(database: &'a PgPool) -> Self {
        let mut transaction = database.begin().await.unwrap();
        let lock = "LOCK TABLE bookings IN SHARE MODE";
        sqlx::query(lock).execute(&mut *transaction).await.unwrap();
        Self { database, transaction }
    }

    /// Waits until a booking waits for the lock.
    pub(crate) async fn is_awaited(&self) {
        let waiting = "SELECT count(*) FROM pg_stat_activity
            WHERE wait_event_type = 'Lock' AND query LIKE 'INSERT INTO bookings%'";
        eventually_without(|| async {
            let waiting: i64 = sqlx::query_scalar(waiting).fetch_one(self.database).await.unwrap();
            (waiting == 0).then(|| "no booking waits for the lock".to_owned())
        })
        .await;
    }

    pub(crate) async fn release(self) {
        self.transaction.rollback().await.unwrap();
    }
}
