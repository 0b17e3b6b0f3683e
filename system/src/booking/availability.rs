//! `GET /tutors/{id}/slots`, and what the database has about the free time of a tutor and a student.

use std::ops::Bound::{Excluded, Included};
use std::ops::Range;
use std::sync::Arc;

use axum::extract::State;
use axum::http::Uri;
use chrono::{DateTime, TimeDelta, Utc};
use chrono_tz::Tz;
use sqlx::postgres::types::PgRange;

use super::BookingDesk;
use super::slots::{self, Timetable, WeeklyHours};
use crate::api::{Slot, Slots};
use crate::error::{Code, Problem, Result};
use crate::{database, extract};

/// Length of the requested time if the request does not end it.
const DEFAULT_LENGTH: TimeDelta = TimeDelta::weeks(1);

/// The times of `busy` are merged where they touch, so that a full calendar is a few rows.
pub(super) const AVAILABILITY: &str = "SELECT time_zone, clock_timestamp() AS now,
        ARRAY(SELECT unnest(ARRAY[weekday, from_minute, until_minute])
            FROM weekly_hours WHERE tutor_id = $1) AS hours,
        ARRAY(SELECT unnest(range_agg(during)) FROM bookings
            WHERE (tutor_id = $1 OR student_id = $2) AND cancelled_at IS NULL
                AND during && tstzrange(now(), NULL)) AS busy
    FROM tutors WHERE id = $1";

/// The free time of a tutor, or of a tutor and a student, at one instant.
#[derive(Debug)]
pub(super) struct Availability {
    pub(super) timetable: Timetable,
    /// The database's clock.
    pub(super) now: DateTime<Utc>,
    /// Sorted and disjoint.
    busy: Vec<Range<DateTime<Utc>>>,
}

/// A row of [`AVAILABILITY`].
#[derive(Debug, sqlx::FromRow)]
pub(super) struct Row {
    time_zone: String,
    now: DateTime<Utc>,
    /// Three numbers for each row of `weekly_hours`.
    hours: Vec<i16>,
    busy: Vec<PgRange<DateTime<Utc>>>,
}

impl TryFrom<Row> for Availability {
    type Error = Problem;

    fn try_from(row: Row) -> Result<Self> {
        let timetable = timetable(&row.time_zone, &row.hours)?;
        let busy = row.busy.iter().filter_map(|range| match (range.start, range.end) {
            (Included(start), Excluded(end)) => Some(start..end),
            _ => None,
        });
        Ok(Self { timetable, now: row.now, busy: busy.collect() })
    }
}

impl Availability {
    /// Reads the free time of a tutor, or of a tutor and a student.
    pub(super) async fn read(desk: &BookingDesk, tutor: i64, student: Option<i64>) -> Result<Self> {
        let read = || sqlx::query_as::<_, Row>(AVAILABILITY).bind(tutor).bind(student);
        let rows = database::read(&desk.pool, "SELECT tutors", AVAILABILITY, read).await?;
        rows.into_iter().next().ok_or(Code::TutorNotFound)?.try_into()
    }

    /// Returns the free lessons that start in `times` and can be booked now; the earliest first.
    pub(super) fn free<'a>(&'a self, times: &Range<DateTime<Utc>>) -> impl Iterator<Item = Slot> + use<'a> {
        let bookable = slots::bookable(self.now);
        let times = times.start.max(bookable.start)..times.end.min(bookable.end);
        self.timetable.free(&self.busy, &times)
    }

    /// Returns the earliest free lesson.
    pub(super) fn earliest(&self) -> Option<Slot> {
        self.free(&slots::bookable(self.now)).next()
    }

    /// Returns the free lessons from `starts_at` on, then those before it.
    pub(super) fn from(&self, starts_at: DateTime<Utc>) -> impl Iterator<Item = Slot> {
        let bookable = slots::bookable(self.now);
        self.free(&(starts_at..bookable.end)).chain(self.free(&(bookable.start..starts_at)))
    }
}

/// Returns the timetable of a zone's name and of three numbers for each row of `weekly_hours`.
pub(super) fn timetable(zone: &str, hours: &[i16]) -> Result<Timetable> {
    let zone: Tz = zone.parse().map_err(Problem::internal)?;
    let (rows, _) = hours.as_chunks::<3>();
    let hours = rows.iter().filter_map(|[weekday, from, until]| WeeklyHours::new(*weekday, *from, *until));
    Ok(Timetable { zone, hours: hours.collect() })
}

pub(super) async fn slots(
    State(desk): State<Arc<BookingDesk>>,
    extract::Path(tutor): extract::Path,
    uri: Uri,
) -> Result<axum::Json<Slots>> {
    let tutor_id: i64 = tutor.parse().map_err(|_| Code::TutorNotFound)?;
    let query = extract::query(&uri)?;
    let (from, to) = (extract::instant(&query, "from")?, extract::instant(&query, "to")?);
    let availability = Availability::read(&desk, tutor_id, None).await?;
    let from = from.unwrap_or(availability.now);
    let to = to.or_else(|| from.checked_add_signed(DEFAULT_LENGTH)).unwrap_or(DateTime::<Utc>::MAX_UTC);
    if to < from {
        return Err(Problem::with_detail(Code::InvalidRequest, "`to` must not be before `from`."));
    }
    let slots = availability.free(&(from..to)).collect();
    let time_zone = availability.timetable.zone.name().to_owned();
    Ok(axum::Json(Slots { tutor_id, time_zone, slots }))
}
