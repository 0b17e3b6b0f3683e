//! Verifies the replies about lessons: free slots, bookings, cancellations.

use std::ops::Range;

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::Value;
use system::api::Slot;
use system::dataset;

use super::{Booked, Facts, ensure, quote};

/// Length of a lesson.
const LESSON: TimeDelta = TimeDelta::minutes(60);
/// Time between two starts of one tutor.
const GRID_SECONDS: i64 = 30 * 60;
/// In UTC, starts are at a multiple of this: the offset of each zone is one.
const QUARTER_SECONDS: i64 = 15 * 60;
/// Maximum number of alternatives to a slot that is taken.
const MAX_ALTERNATIVES: usize = 5;

/// Checks a confirmation of a booking by a student, of a tutor, at a time if one was asked for.
pub(super) fn booked(
    reply: &Value,
    body: &[u8],
    (student, tutor, starts_at): (i64, i64, Option<DateTime<Utc>>),
) -> Result<Facts, String> {
    let reported = (reply["status"].as_str(), reply["student_id"].as_i64(), reply["tutor_id"].as_i64());
    ensure(reported == (Some("success"), Some(student), Some(tutor)), || {
        format!("expected tutor {tutor} booked for student {student}, got {reply}")
    })?;
    let booking = reply["booking_id"].as_i64().ok_or_else(|| format!("no booking_id: {reply}"))?;
    let lesson =
        slot(reply).ok_or_else(|| format!("not a lesson of one hour from starts_at to ends_at: {reply}"))?;
    ensure(starts_at.is_none_or(|starts_at| lesson.starts_at == starts_at), || {
        format!("expected a lesson at {}, got {reply}", starts_at.unwrap_or_default())
    })?;
    let reply = String::from_utf8_lossy(body).into_owned();
    Ok(Facts { booked: Some(Booked { booking, lesson, reply }), ..Facts::default() })
}

/// Checks the free slots of a tutor that start in `times`.
pub(super) fn slots(reply: &Value, tutor: i64, times: &Range<DateTime<Utc>>) -> Result<Facts, String> {
    let reported = (reply["tutor_id"].as_i64(), reply["time_zone"].as_str());
    let zone = dataset::time_zone(tutor);
    ensure(reported == (Some(tutor), Some(zone)), || {
        format!("expected slots of tutor {tutor} in {zone}, got {}", quote(reply.to_string().as_bytes()))
    })?;
    let Some(listed) = reply["slots"].as_array() else {
        return Err(format!("not a list of slots: {}", quote(reply.to_string().as_bytes())));
    };
    let mut offered: Vec<Slot> = Vec::with_capacity(listed.len());
    for value in listed {
        let slot = slot(value).ok_or_else(|| format!("not a slot of one hour in UTC: {value}"))?;
        ensure(times.contains(&slot.starts_at), || {
            format!("a slot at {}, which is not from {} to {}", slot.starts_at, times.start, times.end)
        })?;
        let first = offered.first().unwrap_or(&slot).starts_at;
        let is_on_grid = slot.starts_at.timestamp() % QUARTER_SECONDS == 0
            && (slot.starts_at - first).num_seconds() % GRID_SECONDS == 0;
        ensure(is_on_grid, || format!("a slot off the grid of half hours: {value}"))?;
        ensure(offered.last().is_none_or(|last| last.starts_at < slot.starts_at), || {
            format!("slots not in ascending order: {value}")
        })?;
        offered.push(slot);
    }
    Ok(Facts { offered: Some(offered), ..Facts::default() })
}

/// Checks the cancellation of a booking.
pub(super) fn cancelled(reply: &Value, booking: i64) -> Result<Facts, String> {
    let reported = (reply["status"].as_str(), reply["booking_id"].as_i64());
    let is_right = reported == (Some("cancelled"), Some(booking)) && instant(reply, "cancelled_at").is_some();
    ensure(is_right, || format!("expected booking {booking} cancelled, got {reply}"))?;
    Ok(Facts { cancelled: Some(booking), ..Facts::default() })
}

/// Checks the bookings of a student, newest first, which include `booked`.
pub(super) fn bookings(reply: &Value, student: i64, booked: Option<i64>) -> Result<Facts, String> {
    let Some(listed) = reply["bookings"].as_array() else {
        return Err(format!("not a list of bookings: {}", quote(reply.to_string().as_bytes())));
    };
    let id_and_state =
        |booking: &Value| Some((booking["booking_id"].as_i64()?, !booking["cancelled_at"].is_null()));
    let ids: Vec<(i64, bool)> = listed.iter().filter_map(id_and_state).collect();
    ensure(ids.len() == listed.len(), || "a booking without booking_id".into())?;
    ensure(ids.windows(2).all(|pair| pair[0].0 > pair[1].0), || "bookings not newest first".into())?;
    let of_another = listed.iter().find(|booking| booking["student_id"].as_i64() != Some(student));
    ensure(of_another.is_none(), || {
        format!("a booking of another student than {student}: {}", of_another.unwrap_or(&Value::Null))
    })?;
    ensure(booked.is_none_or(|booking| ids.iter().any(|(id, _)| *id == booking)), || {
        format!("booking {} is missing from the student's bookings", booked.unwrap_or_default())
    })?;
    Ok(Facts { listed: ids, ..Facts::default() })
}

/// Returns whether a problem says that the slot at `starts_at` is taken, and offers others.
pub(super) fn is_taken(problem: &Value, starts_at: DateTime<Utc>) -> bool {
    let alternatives = problem["alternatives"].as_array().into_iter().flatten();
    let alternatives: Vec<_> = alternatives.map(parse).collect();
    let are_right = alternatives.iter().all(|other| other.is_some_and(|other| other != starts_at));
    problem["code"] == "slot_taken"
        && problem["alternatives"].is_array()
        && alternatives.len() <= MAX_ALTERNATIVES
        && are_right
}

/// Returns the lesson of an object, if it lasts an hour.
fn slot(object: &Value) -> Option<Slot> {
    let slot = Slot { starts_at: instant(object, "starts_at")?, ends_at: instant(object, "ends_at")? };
    (slot.ends_at - slot.starts_at == LESSON).then_some(slot)
}

fn instant(object: &Value, member: &str) -> Option<DateTime<Utc>> {
    parse(&object[member])
}

/// Parses an RFC 3339 time in UTC.
fn parse(value: &Value) -> Option<DateTime<Utc>> {
    let at = DateTime::parse_from_rfc3339(value.as_str()?).ok()?;
    (at.offset().local_minus_utc() == 0).then(|| at.to_utc())
}
