//! `DELETE /bookings/{id}`: frees the lesson's time and keeps the row. The event that deletes the cached slots is part of the
//! transaction.

use std::sync::Arc;

use axum::extract::State;
use axum::http::Uri;
use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use super::{BookingDesk, outbox};
use crate::api::{CancelReply, Slot};
use crate::error::{Code, Problem, Result};
use crate::{database, extract};

const CANCEL: &str = "UPDATE bookings SET cancelled_at = clock_timestamp()
    WHERE id = $1 AND student_id = $2 AND cancelled_at IS NULL
    RETURNING cancelled_at, tutor_id, lower(during), upper(during)";
/// When it was cancelled; its tutor, and the time of the lesson.
type Cancelled = (DateTime<Utc>, i64, Option<DateTime<Utc>>, Option<DateTime<Utc>>);
const FIND: &str = "SELECT id FROM bookings WHERE id = $1 AND student_id = $2";

pub(super) async fn cancel(
    State(desk): State<Arc<BookingDesk>>,
    extract::Path(booking): extract::Path,
    uri: Uri,
) -> Result<axum::Json<CancelReply>> {
    let booking_id: i64 = booking.parse().map_err(|_| Code::NotFound)?;
    let query = extract::query(&uri)?;
    let student = extract::number::<i64>(&query, "student_id")?.ok_or(Code::InvalidRequest)?;
    let mut connection = database::acquire(&desk.pool).await?;
    if let Some(cancelled_at) = transact(&mut connection, booking_id, student).await? {
        desk.commits.announce();
        return Ok(axum::Json(CancelReply { status: "cancelled".into(), booking_id, cancelled_at }));
    }
    let find =
        sqlx::query_scalar::<_, i64>(FIND).bind(booking_id).bind(student).fetch_optional(&mut *connection);
    let found =
        database::query("SELECT bookings", FIND, find).await.map_err(|error| database::problem(&error))?;
    Err(Problem::from(if found.is_some() { Code::AlreadyCancelled } else { Code::NotFound }))
}

/// Cancels the booking and returns when. Returns `None` if there is no such booking, or if it was cancelled before.
async fn transact(
    connection: &mut PgConnection,
    booking_id: i64,
    student: i64,
) -> Result<Option<DateTime<Utc>>> {
    let failed = |error: sqlx::Error| database::problem(&error);
    let mut transaction = database::begin(connection).await.map_err(failed)?;
    let cancel = sqlx::query_as(CANCEL).bind(booking_id).bind(student).fetch_optional(&mut *transaction);
    let row: Option<Cancelled> = database::query("UPDATE bookings", CANCEL, cancel).await.map_err(failed)?;
    let Some((cancelled_at, tutor, starts_at, ends_at)) = row else {
        database::rollback(transaction).await.map_err(failed)?;
        return Ok(None);
    };
    // A booking from before lessons had a time is in no cached slot.
    if let Some((starts_at, ends_at)) = starts_at.zip(ends_at) {
        outbox::cancelled(&mut transaction, tutor, Slot { starts_at, ends_at }).await?;
    }
    database::commit(transaction).await.map_err(failed)?;
    Ok(Some(cancelled_at))
}
