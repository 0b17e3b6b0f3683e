//! `DELETE /bookings/{id}`: frees the lesson's time and keeps the row.

use std::sync::Arc;

use axum::extract::State;
use axum::http::Uri;
use chrono::{DateTime, Utc};

use super::BookingDesk;
use crate::api::CancelReply;
use crate::error::{Code, Problem, Result};
use crate::{database, extract};

const CANCEL: &str = "UPDATE bookings SET cancelled_at = clock_timestamp()
    WHERE id = $1 AND student_id = $2 AND cancelled_at IS NULL RETURNING cancelled_at";
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
    let cancel = sqlx::query_scalar(CANCEL).bind(booking_id).bind(student).fetch_optional(&mut *connection);
    let cancelled: Option<DateTime<Utc>> = database::query("UPDATE bookings", CANCEL, cancel)
        .await
        .map_err(|error| database::problem(&error))?;
    if let Some(cancelled_at) = cancelled {
        return Ok(axum::Json(CancelReply { status: "cancelled".into(), booking_id, cancelled_at }));
    }
    let find =
        sqlx::query_scalar::<_, i64>(FIND).bind(booking_id).bind(student).fetch_optional(&mut *connection);
    let found =
        database::query("SELECT bookings", FIND, find).await.map_err(|error| database::problem(&error))?;
    Err(Problem::from(if found.is_some() { Code::AlreadyCancelled } else { Code::NotFound }))
}
