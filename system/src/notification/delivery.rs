//! What is done about one task: send what was not sent yet, and record that it was.

use std::time::Duration;

use opentelemetry::Context;
use opentelemetry::trace::{Status, TraceContextExt as _};
use sqlx::PgPool;
use tokio::time::sleep;

use super::tasks::Leased;
use crate::api::{BOOKING_NOTIFICATION, BookingNotification};
use crate::database;
use crate::error::{Problem, Result};

const STATE: &str = "SELECT EXISTS (SELECT FROM bookings WHERE id = $1),
    EXISTS (SELECT FROM notifications WHERE booking_id = $1)";
const RECORD: &str = "INSERT INTO notifications (booking_id) VALUES ($1)
    ON CONFLICT (booking_id) DO UPDATE SET deliveries = notifications.deliveries + 1";

/// `Ok` when nothing is left to do for the task; an error means that it is worth another try.
pub(super) async fn process(pool: &PgPool, delay: Duration, task: &Leased) -> Result<()> {
    let booking = match task.task_type.as_str() {
        BOOKING_NOTIFICATION => serde_json::from_str::<BookingNotification>(task.payload.get()).ok(),
        _ => None,
    };
    let Some(booking) = booking else {
        // It will be no better the next time.
        Context::current().span().set_status(Status::error("not understood"));
        tracing::error!(
            task_id = task.id,
            task_type = task.task_type,
            "a task that nobody understands is let go"
        );
        return Ok(());
    };
    let (booked, notified) = state(pool, booking.booking_id).await?;
    if notified {
        tracing::info!(booking_id = booking.booking_id, "notification sent before");
        return Ok(());
    }
    if !booked {
        taken_back(&booking);
        return Ok(());
    }
    send(delay, &booking).await;
    record(pool, &booking).await
}

/// Whether the booking is there, and whether its notification was recorded.
async fn state(pool: &PgPool, booking_id: i64) -> Result<(bool, bool)> {
    let mut connection = database::acquire(pool).await?;
    let state = sqlx::query_as(STATE).bind(booking_id).fetch_one(&mut *connection);
    let state = database::query("SELECT notifications", STATE, state).await;
    state.map_err(|error| database::problem(&error))
}

fn taken_back(booking: &BookingNotification) {
    tracing::warn!(booking_id = booking.booking_id, "the booking was taken back");
}

/// Simulates the mail provider: takes `delay`, and always succeeds.
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
            taken_back(booking);
            Ok(())
        }
        Err(error) => Err(Problem::internal(error)),
    }
}
