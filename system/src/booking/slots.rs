//! The calendar: which lessons a tutor offers and which of them are free. Pure; every time is an instant in UTC.
//!
//! Weekly hours are local, so the zone's offset changes which instants they cover. Each quarter of an hour is converted to
//! local time instead of computing local times forwards: an hour that the clock skips has no instant, one that it repeats has
//! two, and a zone whose offset is not a whole hour needs no case of its own.

use std::ops::Range;

use chrono::{DateTime, Datelike as _, TimeDelta, Timelike as _, Utc, Weekday};
use chrono_tz::Tz;

use crate::api::{HORIZON, Slot};

/// Length of a lesson.
const LESSON: TimeDelta = TimeDelta::minutes(60);

/// Minutes of local time between two starts.
const START_GRID_MINUTES: u32 = 30;

/// Seconds between the instants that are examined. The offset of every zone is a multiple of it.
const QUARTER_SECONDS: i64 = 15 * 60;
const QUARTER_MINUTES: i16 = 15;

/// A stretch of local time in which a tutor teaches once a week.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct WeeklyHours {
    weekday: Weekday,
    /// Minutes since local midnight.
    from: i16,
    /// Exclusive; 1440 is the end of the day.
    until: i16,
}

impl WeeklyHours {
    /// Returns the hours of a row of the table; `None` unless `weekday` is from 1 (Monday) to 7.
    pub(super) fn new(weekday: i16, from: i16, until: i16) -> Option<Self> {
        let weekday = Weekday::try_from(u8::try_from(weekday.checked_sub(1)?).ok()?).ok()?;
        Some(Self { weekday, from, until })
    }

    fn contain(&self, quarter: &LocalQuarter) -> bool {
        quarter.weekday == self.weekday
            && self.from <= quarter.minute
            && quarter.minute + QUARTER_MINUTES <= self.until
    }
}

/// A quarter of an hour in local time.
struct LocalQuarter {
    weekday: Weekday,
    /// Minutes from local midnight to its start.
    minute: i16,
}

/// When a tutor teaches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Timetable {
    pub(super) zone: Tz,
    pub(super) hours: Vec<WeeklyHours>,
}

impl Timetable {
    /// Returns whether a lesson may start at `start`: on the hour or half past in local time, and all of it within the same
    /// hours.
    pub(super) fn offers(&self, start: DateTime<Utc>) -> bool {
        let local = start.with_timezone(&self.zone);
        if !local.minute().is_multiple_of(START_GRID_MINUTES)
            || local.second() != 0
            || local.nanosecond() != 0
        {
            return false;
        }
        let quarters =
            [0, 1, 2, 3].map(|quarter| self.local(start + TimeDelta::seconds(quarter * QUARTER_SECONDS)));
        self.hours.iter().any(|hours| quarters.iter().all(|quarter| hours.contain(quarter)))
    }

    /// Returns the lessons that start in `times` and overlap none of `busy`, which is sorted; the earliest first.
    pub(super) fn free<'a>(
        &'a self,
        busy: &'a [Range<DateTime<Utc>>],
        times: &Range<DateTime<Utc>>,
    ) -> impl Iterator<Item = Slot> + use<'a> {
        let mut busy = busy.iter().peekable();
        let quarters = quarters_until(times.start)..quarters_until(times.end);
        let starts = quarters.filter_map(|quarter| DateTime::from_timestamp(quarter * QUARTER_SECONDS, 0));
        let unoccupied = starts.map(lesson).filter(move |slot| {
            while busy.next_if(|taken| taken.end <= slot.starts_at).is_some() {}
            busy.peek().is_none_or(|taken| slot.ends_at <= taken.start)
        });
        unoccupied.filter(|slot| self.offers(slot.starts_at))
    }

    fn local(&self, at: DateTime<Utc>) -> LocalQuarter {
        let local = at.with_timezone(&self.zone);
        // At most 1439.
        let minute = i16::try_from(local.hour() * 60 + local.minute()).unwrap_or(i16::MAX);
        LocalQuarter { weekday: local.weekday(), minute }
    }
}

/// Returns the lesson that starts at `starts_at`.
pub(super) fn lesson(starts_at: DateTime<Utc>) -> Slot {
    Slot { starts_at, ends_at: starts_at + LESSON }
}

/// Returns the times at which a lesson can start if it is booked at `now`.
pub(super) fn bookable(now: DateTime<Utc>) -> Range<DateTime<Utc>> {
    now..now + HORIZON
}

/// Returns the number of quarters of an hour from 1970 to `at`, rounded up.
fn quarters_until(at: DateTime<Utc>) -> i64 {
    let seconds = at.timestamp() + i64::from(at.timestamp_subsec_nanos() > 0);
    (seconds + QUARTER_SECONDS - 1).div_euclid(QUARTER_SECONDS)
}

#[cfg(test)]
mod tests;
