//! Free slots of a tutor, cached by UTC day.
//!
//! A cached day has all slots of the day that were free and within the horizon when it was read; the reply has those of the
//! requested time that are still ahead. A booking or a cancellation deletes its day from the cache. Days that are not cached
//! are read from booking, contiguous ones in one call, and stored with the leases of their keys (see
//! [`super::cache_aside`]); the days that another request is reading are waited for.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use axum::extract::State;
use axum::http::Uri;
use axum::response::Response;
use chrono::{DateTime, Days, NaiveDate, NaiveTime, SecondsFormat, TimeDelta, Utc};
use futures::future::{join_all, try_join_all};
use tokio::time::Instant;

use super::cache_aside::MAX_WAIT;
use super::cache_client::{Lease, Lookup};
use super::token::Caller;
use super::{Gateway, json};
use crate::api::{HORIZON, Slots, slots_key};
use crate::error::{Code, Problem, Result};
use crate::extract;

/// Length of the requested time if the request does not end it.
const DEFAULT_LENGTH: TimeDelta = TimeDelta::weeks(1);

/// Maximum number of concurrent calls to a peer for one request.
const CALLS: usize = 4;

/// A day that is not cached, and the lease of its key; none if the cache is down.
type Missing = (NaiveDate, Option<Lease>);

/// The free slots of days.
type ByDay = BTreeMap<NaiveDate, Slots>;

pub(super) async fn slots(
    State(gateway): State<Arc<Gateway>>,
    _: Caller,
    extract::Path(tutor): extract::Path,
    uri: Uri,
) -> Result<Response> {
    let tutor_id: i64 = tutor.parse().map_err(|_| Code::TutorNotFound)?;
    let query = extract::query(&uri)?;
    let now = Utc::now();
    let from = extract::instant(&query, "from")?.unwrap_or(now);
    let to = extract::instant(&query, "to")?.or_else(|| from.checked_add_signed(DEFAULT_LENGTH));
    let to = to.unwrap_or(DateTime::<Utc>::MAX_UTC);
    if to < from {
        return Err(Problem::with_detail(Code::InvalidRequest, "`to` must not be before `from`."));
    }
    let times = from.max(now)..to.min(now + HORIZON);
    if times.is_empty() {
        // No day, but the reply has the tutor's time zone.
        let found = read(&gateway, tutor_id, &(from..to)).await?;
        return Ok(json(serde_json::to_vec(&found).map_err(Problem::internal)?));
    }
    let found = days(&gateway, tutor_id, &times).await?;
    let time_zone = found.values().next().map(|day| day.time_zone.clone()).unwrap_or_default();
    let free = found.into_values().flat_map(|day| day.slots);
    let slots = free.filter(|slot| times.contains(&slot.starts_at)).collect();
    Ok(json(serde_json::to_vec(&Slots { tutor_id, time_zone, slots }).map_err(Problem::internal)?))
}

/// Returns the free slots of all days that `times` touches.
async fn days(gateway: &Gateway, tutor: i64, times: &Range<DateTime<Utc>>) -> Result<ByDay> {
    let give_up = Instant::now() + MAX_WAIT;
    let last = (times.end - TimeDelta::nanoseconds(1)).date_naive();
    let mut wanted: Vec<NaiveDate> =
        times.start.date_naive().iter_days().take_while(|day| *day <= last).collect();
    let mut found = ByDay::new();
    while !wanted.is_empty() {
        let keys = wanted.iter().map(|day| slots_key(tutor, *day)).collect();
        let lookups = gateway.cache.client.claim_all(keys).await;
        let (mut missing, mut held) = (Vec::new(), Vec::new());
        for (day, lookup) in wanted.into_iter().zip(lookups) {
            match lookup {
                Lookup::Value(value) => match serde_json::from_slice(&value) {
                    Ok(slots) => drop(found.insert(day, slots)),
                    Err(_) => missing.push((day, None)),
                },
                Lookup::Leased(lease) => missing.push((day, Some(lease))),
                Lookup::Held if Instant::now() < give_up => held.push(day),
                Lookup::Held | Lookup::Down => missing.push((day, None)),
            }
        }
        let mut runs = contiguous(missing).into_iter();
        loop {
            let calls: Vec<_> = runs.by_ref().take(CALLS).map(|run| fill(gateway, tutor, run)).collect();
            if calls.is_empty() {
                break;
            }
            found.extend(try_join_all(calls).await?.into_iter().flatten());
        }
        wanted = held;
    }
    Ok(found)
}

/// Groups days, which are sorted, into runs without a gap.
fn contiguous(days: Vec<Missing>) -> Vec<Vec<Missing>> {
    let mut runs: Vec<Vec<Missing>> = Vec::new();
    for day in days {
        match runs.last_mut() {
            Some(run) if run.last().and_then(|last| last.0.succ_opt()) == Some(day.0) => run.push(day),
            _ => runs.push(vec![day]),
        }
    }
    runs
}

/// Reads a run of days from booking and stores those that have a lease.
async fn fill(gateway: &Gateway, tutor: i64, run: Vec<Missing>) -> Result<ByDay> {
    let (Some(first), Some(last)) = (run.first(), run.last()) else { return Ok(ByDay::new()) };
    let times = midnight(first.0)..midnight(last.0 + Days::new(1));
    let has_leases = run.iter().all(|(_, lease)| lease.is_some());
    let permit = if has_leases { None } else { Some(gateway.cache.unleased_permit().await?) };
    let read = read(gateway, tutor, &times).await;
    drop(permit);
    let read = match read {
        Ok(read) => read,
        Err(problem) => {
            Lease::give_back(run.into_iter().filter_map(|(_, lease)| lease));
            return Err(problem);
        }
    };
    let empty = |_: &Missing| Slots { slots: Vec::new(), ..read.clone() };
    let mut found: ByDay = run.iter().map(|missing| (missing.0, empty(missing))).collect();
    for slot in &read.slots {
        if let Some(day) = found.get_mut(&slot.starts_at.date_naive()) {
            day.slots.push(*slot);
        }
    }
    store(gateway, &found, run).await?;
    Ok(found)
}

/// Stores the days of `run` that have a lease.
async fn store(gateway: &Gateway, found: &ByDay, run: Vec<Missing>) -> Result<()> {
    let mut leased = run.into_iter().filter_map(|(day, lease)| Some((found.get(&day)?, lease?)));
    loop {
        let mut calls = Vec::with_capacity(CALLS);
        for (slots, lease) in leased.by_ref().take(CALLS) {
            let value = serde_json::value::to_raw_value(slots).map_err(Problem::internal)?;
            calls.push(async move { lease.store(&value, gateway.slots_ttl_seconds).await });
        }
        if calls.is_empty() {
            return Ok(());
        }
        // A day whose lease was ended by a delete is not stored; this reply may still contain it.
        join_all(calls).await;
    }
}

/// Reads the free slots that start in `times` from booking.
async fn read(gateway: &Gateway, tutor: i64, times: &Range<DateTime<Utc>>) -> Result<Slots> {
    let text = |instant: DateTime<Utc>| instant.to_rfc3339_opts(SecondsFormat::AutoSi, true);
    let path = format!("/tutors/{tutor}/slots?from={}&to={}", text(times.start), text(times.end));
    let reply = gateway.booking.look_up("/tutors/{id}/slots", &path).await?;
    reply.json()
}

fn midnight(day: NaiveDate) -> DateTime<Utc> {
    day.and_time(NaiveTime::MIN).and_utc()
}
