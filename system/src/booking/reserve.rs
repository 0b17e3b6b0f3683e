//! The transaction of `POST /book`: the lesson, and with it the stored reply to the request's key and the events of the booking.
//!
//! It locks the tutor's row and then the student's, before it inserts a row that refers to them. All bookings take these locks
//! in this order, so two of them never wait for each other, and the second sees what the first has booked. The exclusion
//! constraints have the last word nevertheless.

use chrono::{DateTime, Utc};
use opentelemetry::Context;
use opentelemetry::trace::TraceContextExt as _;
use sqlx::postgres::types::PgRange;
use sqlx::{Postgres, Transaction};

use super::availability::{AVAILABILITY, Availability, Row, timetable};
use super::slots::{self, Timetable};
use super::{BookingDesk, idempotency, outbox};
use crate::api::{BookReply, BookRequest, BookingNotification, Slot};
use crate::database;
use crate::error::{Code, Problem};

/// The student's row is locked after the tutor's because its condition reads the first query. The clock is read after both.
const LOCK: &str = "WITH tutor AS MATERIALIZED (
        SELECT id, time_zone FROM tutors WHERE id = $1 FOR NO KEY UPDATE
    ), student AS MATERIALIZED (
        SELECT id FROM students WHERE id = $2 AND EXISTS (SELECT FROM tutor) FOR NO KEY UPDATE
    )
    SELECT tutor.time_zone, student.id IS NOT NULL AS student_exists, clock_timestamp() AS now,
        ARRAY(SELECT unnest(ARRAY[weekday, from_minute, until_minute])
            FROM weekly_hours WHERE tutor_id = $1) AS hours
    FROM tutor LEFT JOIN student ON true";

/// Inserts nothing if the lesson overlaps another one of the tutor or of the student.
const INSERT: &str = "INSERT INTO bookings (student_id, tutor_id, during, trace_id) VALUES ($1, $2, $3, $4)
    ON CONFLICT DO NOTHING RETURNING id";

/// Maximum number of transactions for one request. A second one is needed after a lost connection, a lock that was not granted
/// in time, or a booking by a program that does not take the locks above.
const MAX_ATTEMPTS: u32 = 3;

/// Maximum number of free lessons in a `slot_taken` problem.
const ALTERNATIVES: usize = 5;

/// A confirmed booking.
#[derive(Debug)]
pub(super) struct Reservation {
    pub(super) reply: BookReply,
    /// The reply as it is sent, and stored under the request's key.
    pub(super) body: String,
    /// Whether this request made the booking; otherwise an earlier one with the same key did.
    pub(super) is_new: bool,
}

/// Why a transaction was not committed.
enum Failure {
    /// The request cannot be fulfilled.
    Refused(Problem),
    /// Another lesson overlaps the one at this time.
    Taken(DateTime<Utc>),
    /// The transaction ended without a commit, and another one may succeed. The problem is the answer to the last attempt.
    Interrupted(Problem),
}

impl From<Problem> for Failure {
    fn from(problem: Problem) -> Self {
        Self::Refused(problem)
    }
}

impl From<sqlx::Error> for Failure {
    fn from(error: sqlx::Error) -> Self {
        if database::is_conflict(&error) {
            Self::Interrupted(Code::SlotTaken.into())
        } else if database::is_interruption(&error) {
            Self::Interrupted(database::problem(&error))
        } else {
            Self::Refused(database::problem(&error))
        }
    }
}

/// Books the requested lesson, or the earliest one that is free for tutor and student.
///
/// # Errors
///
/// 404 for an unknown tutor or student; 422 `invalid_slot`; 409 `slot_taken` with the next free lessons; 409 `no_free_slot`;
/// with a key, 409 `key_in_flight` and 422 `key_reused`.
pub(super) async fn reserve(
    desk: &BookingDesk,
    request: &BookRequest,
    key: Option<&str>,
) -> Result<Reservation, Problem> {
    let mut attempt = 1;
    loop {
        match transact(desk, request, key, attempt).await {
            Ok(reservation) => return Ok(reservation),
            Err(Failure::Refused(problem)) => return Err(problem),
            Err(Failure::Taken(starts_at)) => return Err(taken(desk, request, starts_at).await),
            Err(Failure::Interrupted(problem)) if attempt == MAX_ATTEMPTS => return Err(problem),
            Err(Failure::Interrupted(_)) => tracing::warn!(attempt, "repeating the transaction of a booking"),
        }
        attempt += 1;
    }
}

async fn transact(
    desk: &BookingDesk,
    request: &BookRequest,
    key: Option<&str>,
    attempt: u32,
) -> Result<Reservation, Failure> {
    let mut connection = match attempt {
        1 => database::acquire(&desk.pool).await?,
        _ => database::acquire_tested(&desk.pool).await?,
    };
    let begun = database::begin(&mut connection).await;
    // Nothing has been done yet, so a connection that was lost while it was idle may be replaced.
    let mut transaction = begun.map_err(|error| Failure::Interrupted(database::problem(&error)))?;
    match book(&mut transaction, request, key).await {
        Ok(reservation) => {
            // Not repeated after an error: the commit may have succeeded.
            let committed = database::commit(transaction).await;
            committed.map_err(|error| Failure::Refused(database::problem(&error)))?;
            Ok(reservation)
        }
        Err(failure) => {
            // If this fails, PostgreSQL rolls the transaction back when the session ends.
            let _ = database::rollback(transaction).await;
            Err(failure)
        }
    }
}

async fn book(
    transaction: &mut Transaction<'_, Postgres>,
    request: &BookRequest,
    key: Option<&str>,
) -> Result<Reservation, Failure> {
    if let Some(key) = key
        && let Some(body) = idempotency::claim(transaction, request, key).await?
    {
        let reply = serde_json::from_str(&body).map_err(Problem::internal)?;
        return Ok(Reservation { reply, body, is_new: false });
    }
    let tutor = lock(transaction, request).await?;
    let (booking_id, slot) = match request.starts_at {
        Some(starts_at) => insert_at(transaction, request, &tutor, starts_at).await?,
        None => insert_earliest(transaction, request).await?,
    };
    let (student_id, tutor_id) = (request.student_id.0, request.tutor_id.0);
    let Slot { starts_at, ends_at } = slot;
    let reply = BookReply { status: "success".into(), booking_id, student_id, tutor_id, starts_at, ends_at };
    let body = serde_json::to_string(&reply).map_err(Problem::internal)?;
    if let Some(key) = key {
        idempotency::store(transaction, request, key, &body).await?;
    }
    // The last statement, so that the age of the events is the time since the commit.
    let notification = BookingNotification { booking_id, student_id, tutor_id };
    outbox::booked(transaction, &notification, slot).await?;
    Ok(Reservation { reply, body, is_new: true })
}

/// A tutor whose row is locked, as is the student's.
struct LockedTutor {
    timetable: Timetable,
    /// The database's clock.
    now: DateTime<Utc>,
}

async fn lock(
    transaction: &mut Transaction<'_, Postgres>,
    request: &BookRequest,
) -> Result<LockedTutor, Failure> {
    let (student, tutor) = (request.student_id.0, request.tutor_id.0);
    let lock = sqlx::query_as(LOCK).bind(tutor).bind(student).fetch_optional(&mut **transaction);
    let row: Option<(String, bool, DateTime<Utc>, Vec<i16>)> =
        database::query("SELECT tutors FOR NO KEY UPDATE", LOCK, lock).await?;
    let (zone, student_exists, now, hours) = row.ok_or(Problem::from(Code::TutorNotFound))?;
    if !student_exists {
        return Err(Problem::from(Code::StudentNotFound).into());
    }
    Ok(LockedTutor { timetable: timetable(&zone, &hours)?, now })
}

async fn insert_at(
    transaction: &mut Transaction<'_, Postgres>,
    request: &BookRequest,
    tutor: &LockedTutor,
    starts_at: DateTime<Utc>,
) -> Result<(i64, Slot), Failure> {
    let bookable = slots::bookable(tutor.now);
    let reason = match starts_at {
        _ if starts_at < bookable.start => "The lesson would start in the past.",
        _ if starts_at >= bookable.end => "The lesson would start more than eight weeks from now.",
        _ if !tutor.timetable.offers(starts_at) => {
            "The tutor offers no lesson at that time; see GET /tutors/{id}/slots."
        }
        _ => {
            let slot = slots::lesson(starts_at);
            let booking_id = insert(transaction, request, slot).await?.ok_or(Failure::Taken(starts_at))?;
            return Ok((booking_id, slot));
        }
    };
    Err(Problem::with_detail(Code::InvalidSlot, reason).into())
}

async fn insert_earliest(
    transaction: &mut Transaction<'_, Postgres>,
    request: &BookRequest,
) -> Result<(i64, Slot), Failure> {
    let (student, tutor) = (request.student_id.0, request.tutor_id.0);
    let read =
        sqlx::query_as::<_, Row>(AVAILABILITY).bind(tutor).bind(Some(student)).fetch_one(&mut **transaction);
    let availability: Availability =
        database::query("SELECT tutors", AVAILABILITY, read).await?.try_into()?;
    let slot = availability.earliest().ok_or(Problem::from(Code::NoFreeSlot))?;
    let inserted = insert(transaction, request, slot).await?;
    // Only a program that does not take the locks can have booked it in between.
    let booking_id = inserted.ok_or(Failure::Interrupted(Code::SlotTaken.into()))?;
    Ok((booking_id, slot))
}

/// Returns the id of the new booking; `None` if the lesson overlaps another one.
async fn insert(
    transaction: &mut Transaction<'_, Postgres>,
    request: &BookRequest,
    slot: Slot,
) -> Result<Option<i64>, sqlx::Error> {
    let context = Context::current();
    let trace = context.span().span_context().trace_id();
    let trace = context.has_active_span().then(|| trace.to_string());
    let insert = sqlx::query_scalar(INSERT)
        .bind(request.student_id.0)
        .bind(request.tutor_id.0)
        .bind(PgRange::from(slot.starts_at..slot.ends_at))
        .bind(trace)
        .fetch_optional(&mut **transaction);
    database::query("INSERT bookings", INSERT, insert).await
}

/// Returns the problem of a lost race: the next lessons that are free for tutor and student, then earlier ones.
async fn taken(desk: &BookingDesk, request: &BookRequest, starts_at: DateTime<Utc>) -> Problem {
    match Availability::read(desk, request.tutor_id.0, Some(request.student_id.0)).await {
        Ok(free) => {
            let alternatives = free.from(starts_at).take(ALTERNATIVES).map(|slot| slot.starts_at);
            Problem::slot_taken(alternatives.collect())
        }
        Err(problem) => problem,
    }
}
