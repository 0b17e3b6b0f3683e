//! Processes one task: sends the notification unless it was sent before, and records that it was sent.

use std::time::Duration;

use sqlx::PgPool;
use tokio::time::sleep;

use crate::api::{BOOKING_NOTIFICATION, BookingNotification, LeasedTask};
use crate::database;
use crate::error::{Code, Problem, Result};

const FIND: &str = "SELECT EXISTS (SELECT FROM bookings WHERE id = $1),
    EXISTS (SELECT FROM notifications WHERE booking_id = $1)";

/// One statement, so one transaction: the key that removes duplicates, the effect of the first worker, and the end of the event.
/// Returns the number of rows that left the outbox.
const RECORD: &str = "WITH sent AS (
        INSERT INTO notifications (booking_id) VALUES ($1) ON CONFLICT DO NOTHING RETURNING booking_id),
    effect AS (INSERT INTO notification_effects (booking_id, worker) SELECT booking_id, $2 FROM sent),
    redriven AS (DELETE FROM parked_events WHERE event_id = $3)
    DELETE FROM outbox WHERE id = $3";

/// For an event that a relay parked while [`RECORD`] ran, whose snapshot does not contain the parked row.
const UNPARK: &str = "DELETE FROM parked_events WHERE event_id = $1";

/// Maximum length of the reason of a failure, in characters.
const MAX_REASON: usize = 200;

/// Why a task was not processed. It is redelivered, and becomes a dead letter after too many attempts.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    /// No handler exists for this type.
    #[error("unknown task type {0:?}")]
    UnknownType(String),
    /// The payload has the wrong form.
    #[error("invalid payload: {0}")]
    InvalidPayload(#[source] serde_json::Error),
    /// The payload names a booking that does not exist.
    #[error("no booking {0}")]
    NoBooking(i64),
    /// The lease has expired.
    #[error("not processed within its lease")]
    Late,
    /// The database is down, for example. The cause has been logged.
    #[error("failed with {0:?}")]
    Failed(Code),
}

impl Failure {
    /// Returns the reason for the dead letter.
    pub(super) fn reason(&self) -> String {
        self.to_string().chars().take(MAX_REASON).collect()
    }
}

impl From<Problem> for Failure {
    fn from(problem: Problem) -> Self {
        Self::Failed(problem.code())
    }
}

/// Processes `task` as the worker of this name.
///
/// # Errors
///
/// Fails if the task should be redelivered.
pub(super) async fn process(
    pool: &PgPool,
    worker: &str,
    delay: Duration,
    task: &LeasedTask,
) -> Result<(), Failure> {
    let booking = booking_of(task)?;
    let (booked, notified) = find(pool, booking.booking_id).await?;
    if !booked {
        return Err(Failure::NoBooking(booking.booking_id));
    }
    if notified {
        tracing::info!(booking_id = booking.booking_id, "notification already sent");
    } else {
        send(delay, &booking).await;
    }
    // A task of another sender has no event of the outbox.
    let event = task.event_id.as_ref().and_then(|id| id.parse().ok());
    record(pool, worker, &booking, event).await
}

fn booking_of(task: &LeasedTask) -> Result<BookingNotification, Failure> {
    match task.task_type.as_str() {
        BOOKING_NOTIFICATION => serde_json::from_str(task.payload.get()).map_err(Failure::InvalidPayload),
        unknown => Err(Failure::UnknownType(unknown.to_owned())),
    }
}

/// Returns whether the booking exists and whether its notification was recorded.
async fn find(pool: &PgPool, booking_id: i64) -> Result<(bool, bool)> {
    let rows =
        database::read(pool, "SELECT notifications", FIND, || sqlx::query_as(FIND).bind(booking_id)).await?;
    // The statement has no FROM, so it returns one row.
    rows.into_iter().next().ok_or(Code::Internal.into())
}

/// Simulates a mail provider that takes `delay` and always succeeds.
#[tracing::instrument(name = "send notification", skip_all)]
async fn send(delay: Duration, booking: &BookingNotification) {
    sleep(delay).await;
    let BookingNotification { booking_id, student_id, tutor_id } = *booking;
    tracing::info!(booking_id, student_id, tutor_id, "notification sent");
}

/// Records that the notification was sent, unless another worker has recorded it, and that its event is finished.
async fn record(
    pool: &PgPool,
    worker: &str,
    booking: &BookingNotification,
    event: Option<i64>,
) -> Result<(), Failure> {
    let mut connection = database::acquire(pool).await?;
    let record = sqlx::query(RECORD).bind(booking.booking_id).bind(worker).bind(event);
    let recorded = database::query("INSERT notifications", RECORD, record.execute(&mut *connection)).await;
    let finished = match recorded {
        Ok(done) => done.rows_affected(),
        Err(error) if error.as_database_error().is_some_and(|error| error.is_foreign_key_violation()) => {
            return Err(Failure::NoBooking(booking.booking_id));
        }
        Err(error) => return Err(database::problem(&error).into()),
    };
    if let Some(event) = event.filter(|_| finished == 0) {
        let unpark = sqlx::query(UNPARK).bind(event).execute(&mut *connection);
        let unparked = database::query("DELETE parked_events", UNPARK, unpark).await;
        unparked.map_err(|error| database::problem(&error))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use chrono::Utc;
    use serde_json::value::RawValue;

    use super::*;

    fn task(task_type: &str, payload: &str) -> LeasedTask {
        LeasedTask {
            id: "1".into(),
            lease: "1".into(),
            task_type: task_type.into(),
            payload: RawValue::from_string(payload.into()).unwrap(),
            otel: Default::default(),
            event_id: None,
            attempts: 1,
            enqueued_at: Utc::now(),
        }
    }

    #[test]
    fn a_failure_has_a_reason_of_bounded_length() {
        let reason = |task: &LeasedTask| booking_of(task).unwrap_err().reason();
        assert_eq!(reason(&task("newsletter", "{}")), "unknown task type \"newsletter\"");
        let invalid = reason(&task(BOOKING_NOTIFICATION, r#"{"booking_id":"one"}"#));
        assert!(invalid.starts_with("invalid payload: invalid type"), "{invalid}");
        assert_eq!(reason(&task(&"x".repeat(10_000), "{}")).chars().count(), MAX_REASON);
        assert_eq!(Failure::from(Problem::from(Code::Unavailable)).reason(), "failed with Unavailable");
    }
}
