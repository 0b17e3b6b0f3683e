//! Parking: an event whose task is a dead letter of the queue is recorded as parked, and no longer published.
//!
//! The relay records it, and not the worker, because a task that kills its workers leaves none to record anything.

use sqlx::PgPool;

use super::claim::within_deadline;
use super::metrics::RelayMetrics;
use crate::api::{BookingNotification, DeadLetters, DeadTask};
use crate::error::Result;
use crate::peer::Peer;

/// Number of dead letters in one read.
const PAGE: usize = 500;

/// Moves events from the outbox to the parked ones. An event that has left the outbox has had its effect or is parked already:
/// the list of dead letters may be older. A payload may name a booking that does not exist.
const PARK: &str = "WITH dead AS (
        SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::text[]) AS dead (event_id, booking_id, reason)),
    finished AS (DELETE FROM outbox USING dead WHERE outbox.id = dead.event_id RETURNING outbox.id)
    INSERT INTO parked_events (event_id, booking_id, reason)
    SELECT dead.event_id, bookings.id, dead.reason
    FROM finished JOIN dead ON dead.event_id = finished.id LEFT JOIN bookings ON bookings.id = dead.booking_id
    ON CONFLICT (event_id) DO NOTHING";

/// Parks the events of all dead letters. Logs a failure: the next call finds the same dead letters.
pub(super) async fn park(pool: &PgPool, queue: &Peer, metrics: &RelayMetrics) {
    let mut after = None;
    loop {
        let tasks = match dead_letters(queue, after).await {
            Ok(tasks) => tasks,
            Err(problem) => {
                tracing::warn!(code = ?problem.code(), "cannot read the dead letters");
                return;
            }
        };
        let events = tasks.iter().filter_map(DeadEvent::of).collect();
        match record(pool, events).await {
            Ok(0) => {}
            Ok(parked) => {
                metrics.parked(parked);
                tracing::warn!(events = parked, "events parked: their tasks are dead letters");
            }
            Err(error) => {
                tracing::warn!(%error, "cannot park events");
                return;
            }
        }
        if tasks.len() < PAGE {
            return;
        }
        after = tasks.into_iter().next_back().map(|task| task.id);
    }
}

/// Reads the dead letters that follow the one with the id `after`.
async fn dead_letters(queue: &Peer, after: Option<String>) -> Result<Vec<DeadTask>> {
    let after = after.map(|id| format!("&after={id}")).unwrap_or_default();
    let reply = queue.poll_get(&format!("/dead?limit={PAGE}{after}")).await?;
    Ok(reply.json::<DeadLetters>()?.tasks)
}

/// The event of a dead letter.
#[derive(Debug, PartialEq, Eq)]
struct DeadEvent {
    id: i64,
    booking_id: Option<i64>,
    reason: String,
}

impl DeadEvent {
    /// Returns the event of a task, or `None` if another sender enqueued it.
    fn of(task: &DeadTask) -> Option<Self> {
        let id = task.event_id.as_ref()?.parse().ok()?;
        let payload = serde_json::from_str::<BookingNotification>(task.payload.get());
        let booking_id = payload.ok().map(|booking| booking.booking_id);
        // PostgreSQL's `text` cannot contain NUL.
        Some(Self { id, booking_id, reason: task.reason.replace('\0', "") })
    }
}

async fn record(pool: &PgPool, events: Vec<DeadEvent>) -> Result<usize, sqlx::Error> {
    if events.is_empty() {
        return Ok(0);
    }
    let (mut ids, mut bookings, mut reasons) = (Vec::new(), Vec::new(), Vec::new());
    for DeadEvent { id, booking_id, reason } in events {
        ids.push(id);
        bookings.push(booking_id);
        reasons.push(reason);
    }
    let park = sqlx::query(PARK).bind(ids).bind(bookings).bind(reasons).execute(pool);
    let parked = within_deadline(park).await?;
    Ok(usize::try_from(parked.rows_affected()).unwrap_or(usize::MAX))
}

#[cfg(test)]
mod tests {
    use chrono::Utc;
    use serde_json::value::RawValue;

    use super::*;

    fn dead(event_id: Option<&str>, payload: &str) -> DeadTask {
        DeadTask {
            id: "1".into(),
            task_type: "booking_notification".into(),
            payload: RawValue::from_string(payload.into()).unwrap(),
            otel: Default::default(),
            event_id: event_id.map(str::to_owned),
            attempts: 5,
            reason: "ex\0pired".into(),
            enqueued_at: Utc::now(),
            died_at: Utc::now(),
        }
    }

    #[test]
    fn dead_letters_of_the_outbox_are_events() {
        let payload = r#"{"booking_id":7,"student_id":1,"tutor_id":2}"#;
        let event = |booking_id| Some(DeadEvent { id: 42, booking_id, reason: "expired".into() });
        assert_eq!(DeadEvent::of(&dead(Some("42"), payload)), event(Some(7)));
        assert_eq!(DeadEvent::of(&dead(Some("42"), "[]")), event(None));
        assert_eq!(DeadEvent::of(&dead(None, payload)), None);
        assert_eq!(DeadEvent::of(&dead(Some("order-42"), payload)), None);
    }
}
