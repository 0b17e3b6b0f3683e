//! Processes one task: sends the notification unless it was sent before, and records that it was sent.

use std::time::Duration;

use opentelemetry::Context;
use opentelemetry::trace::{Status, TraceContextExt as _};
use sqlx::PgPool;
use tokio::time::sleep;

use crate::api::{BOOKING_NOTIFICATION, BookingNotification, LeasedTask};
use crate::database;
use crate::error::{Code, Problem, Result};

const FIND: &str = "SELECT EXISTS (SELECT FROM bookings WHERE id = $1),
    EXISTS (SELECT FROM notifications WHERE booking_id = $1)";
const RECORD: &str = "INSERT INTO notifications (booking_id) VALUES ($1)
    ON CONFLICT (booking_id) DO UPDATE SET deliveries = notifications.deliveries + 1";

/// Processes `task`.
///
/// # Errors
///
/// Fails if the task should be redelivered. A task of an unknown type or with an invalid payload is discarded.
pub(super) async fn process(pool: &PgPool, delay: Duration, task: &LeasedTask) -> Result<()> {
    let booking = match task.task_type.as_str() {
        BOOKING_NOTIFICATION => serde_json::from_str::<BookingNotification>(task.payload.get()).ok(),
        _ => None,
    };
    let Some(booking) = booking else {
        Context::current().span().set_status(Status::error("invalid task"));
        tracing::error!(
            task_id = task.id,
            task_type = task.task_type,
            "task discarded: unknown type or invalid payload"
        );
        return Ok(());
    };
    let (booked, notified) = find(pool, booking.booking_id).await?;
    if notified {
        tracing::info!(booking_id = booking.booking_id, "notification already sent");
        return Ok(());
    }
    if !booked {
        log_rolled_back(&booking);
        return Ok(());
    }
    send(delay, &booking).await;
    record(pool, &booking).await
}

/// Returns whether the booking exists and whether its notification was recorded.
async fn find(pool: &PgPool, booking_id: i64) -> Result<(bool, bool)> {
    let rows =
        database::read(pool, "SELECT notifications", FIND, || sqlx::query_as(FIND).bind(booking_id)).await?;
    // The statement has no FROM, so it returns one row.
    rows.into_iter().next().ok_or(Code::Internal.into())
}

fn log_rolled_back(booking: &BookingNotification) {
    tracing::warn!(booking_id = booking.booking_id, "notification skipped: the booking was rolled back");
}

/// Simulates a mail provider that takes `delay` and always succeeds.
#[tracing::instrument(name = "send notification", skip_all)]
async fn send(delay: Duration, booking: &BookingNotification) {
    sleep(delay).await;
    let BookingNotification { booking_id, student_id, tutor_id } = *booking;
    tracing::info!(booking_id, student_id, tutor_id, "notification sent");
}

async fn record(pool: &PgPool, booking: &BookingNotification) -> Result<()> {
    let mut connection = database::acquire(pool).await?;
    let record = sqlx::query(RECORD).bind(booking.booking_id).execute(&mut *connection);
    match database::query("INSERT notifications", RECORD, record).await {
        Ok(_) => Ok(()),
        Err(error) if error.as_database_error().is_some_and(|error| error.is_foreign_key_violation()) => {
            log_rolled_back(booking);
            Ok(())
        }
        Err(error) => Err(Problem::internal(error)),
    }
}
