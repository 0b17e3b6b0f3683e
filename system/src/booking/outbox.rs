//! The outbox: events that are committed with the change that they announce.
//!
//! The functions add rows to the caller's open transaction, with the current trace context. After the commit the caller
//! calls [`Commits::announce`]; a relay then publishes the rows. An event of a change that was rolled back never existed.

use std::sync::Arc;
use std::time::Duration;

use chrono::{NaiveDate, TimeDelta};
use opentelemetry::Context;
use serde::Serialize;
use sqlx::{PgConnection, PgPool};
use telemetry::propagation;
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};

use crate::api::{BOOKING_NOTIFICATION, BookingNotification, DeleteRequest, Slot, slots_key};
use crate::database;
use crate::error::{Problem, Result};

/// Kind of the events that go to the cache; their payload is a [`DeleteRequest`].
pub(super) const CACHE_DELETE: &str = "cache_delete";

/// Channel of PostgreSQL's NOTIFY.
pub(super) const CHANNEL: &str = "outbox";

const INSERT_BOOKED: &str = "INSERT INTO outbox (kind, payload, otel) VALUES ($1, $2, $5), ($3, $4, $5)";
const INSERT_CANCELLED: &str = "INSERT INTO outbox (kind, payload, otel) VALUES ($1, $2, $3)";

/// Shortest time between two NOTIFY of one process. Each wakes the relays of all processes, so a busy service announces
/// several commits with one.
const NOTIFY_INTERVAL: Duration = Duration::from_millis(5);

/// Maximum time of a NOTIFY.
const NOTIFY_DEADLINE: Duration = Duration::from_secs(5);

/// Adds the events of a new booking: its notification, and the deletion of the cached slots that it changes.
pub(super) async fn booked(
    transaction: &mut PgConnection,
    booking: &BookingNotification,
    lesson: Slot,
) -> Result<()> {
    let insert = sqlx::query(INSERT_BOOKED)
        .bind(BOOKING_NOTIFICATION)
        .bind(json(booking)?)
        .bind(CACHE_DELETE)
        .bind(json(&slots_of(booking.tutor_id, lesson))?)
        .bind(current_trace()?)
        .execute(transaction);
    insert_events(INSERT_BOOKED, insert).await
}

/// Adds the event of a cancelled booking: the deletion of the cached slots that it changes.
pub(super) async fn cancelled(transaction: &mut PgConnection, tutor: i64, lesson: Slot) -> Result<()> {
    let insert = sqlx::query(INSERT_CANCELLED)
        .bind(CACHE_DELETE)
        .bind(json(&slots_of(tutor, lesson))?)
        .bind(current_trace()?)
        .execute(transaction);
    insert_events(INSERT_CANCELLED, insert).await
}

async fn insert_events<T>(
    text: &'static str,
    insert: impl Future<Output = Result<T, sqlx::Error>>,
) -> Result<()> {
    let inserted = database::query("INSERT outbox", text, insert).await;
    inserted.map(|_| ()).map_err(|error| database::problem(&error))
}

fn current_trace() -> Result<String> {
    json(&propagation::inject_map(&Context::current()))
}

fn json(value: &impl Serialize) -> Result<String> {
    serde_json::to_string(value).map_err(Problem::internal)
}

/// Returns the keys of the cached slots that `lesson` changes.
fn slots_of(tutor: i64, lesson: Slot) -> DeleteRequest {
    DeleteRequest { keys: days_of_slots(lesson).map(|day| slots_key(tutor, day)).collect() }
}

/// Returns the days (UTC) on which a slot starts that overlaps `lesson`. Slots are as long as the lesson, so the first one starts
/// up to that time earlier: a lesson at midnight takes a slot of the day before.
fn days_of_slots(Slot { starts_at, ends_at }: Slot) -> impl Iterator<Item = NaiveDate> {
    let instant = TimeDelta::microseconds(1);
    let first = (starts_at - (ends_at - starts_at) + instant).date_naive();
    let last = (ends_at - instant).date_naive();
    first.iter_days().take_while(move |day| *day <= last)
}

/// Announces commits to the relays of all processes. Clones share one signal.
#[derive(Debug, Clone, Default)]
pub(super) struct Commits(Arc<Notify>);

impl Commits {
    /// Announces that a transaction with events was committed. Does not wait, and costs the caller no statement.
    pub(super) fn announce(&self) {
        self.0.notify_one();
    }

    /// Sends a NOTIFY after commits, never inside their transactions: there it would serialise all commits of the cluster. Runs
    /// until it is dropped.
    pub(super) async fn notify_relays(&self, pool: &PgPool) {
        loop {
            self.0.notified().await;
            // Without a span: it belongs to no request, or to many.
            let notify = sqlx::query("SELECT pg_notify($1, '')").bind(CHANNEL).execute(pool);
            match timeout(NOTIFY_DEADLINE, notify).await {
                Ok(Ok(_)) => {}
                Ok(Err(error)) => {
                    tracing::warn!(%error, "cannot announce events: the relays find them when they poll");
                }
                Err(_) => {
                    tracing::warn!("cannot announce events in time: the relays find them when they poll");
                }
            }
            sleep(NOTIFY_INTERVAL).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn days(start: &str, end: &str) -> Vec<String> {
        let lesson = Slot { starts_at: start.parse().unwrap(), ends_at: end.parse().unwrap() };
        slots_of(7, lesson).keys
    }

    #[test]
    fn a_lesson_deletes_every_day_on_which_an_overlapping_slot_starts() {
        for (start, end, expected) in [
            ("2026-11-26T10:00:00Z", "2026-11-26T11:00:00Z", &["slots:7:2026-11-26"][..]),
            // A slot at 23:30 overlaps it.
            ("2026-11-27T00:00:00Z", "2026-11-27T01:00:00Z", &["slots:7:2026-11-26", "slots:7:2026-11-27"]),
            ("2026-11-26T23:30:00Z", "2026-11-27T00:30:00Z", &["slots:7:2026-11-26", "slots:7:2026-11-27"]),
            // The slots at 0:00 before and after it do not overlap it.
            ("2026-11-26T23:00:00Z", "2026-11-27T00:00:00Z", &["slots:7:2026-11-26"]),
            ("2026-11-26T01:00:00Z", "2026-11-26T02:00:00Z", &["slots:7:2026-11-26"]),
        ] {
            assert_eq!(days(start, end), expected, "{start}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn announcements_between_two_notifications_are_one() {
        let commits = Commits::default();
        for _ in 0..100 {
            commits.announce();
        }
        commits.0.notified().await;
        let second = timeout(Duration::from_secs(1), commits.0.notified()).await;
        assert!(second.is_err(), "100 commits are announced once");
    }
}
