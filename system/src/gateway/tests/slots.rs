//! Cached slots, with the real cache and a booking service that counts calls.

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Mutex;
use std::time::Instant;

use chrono::{DateTime, Days, NaiveDate, NaiveTime, TimeDelta, Timelike as _, Utc};
use futures::future::join_all;

use super::*;
use crate::api::{DeleteRequest, HORIZON, Slot, Slots, slots_key};
use crate::gateway::cache_client::LEASE;

/// The calendar of tutor 1, who teaches at every full hour.
#[derive(Default)]
pub(super) struct Calendar {
    taken: Mutex<BTreeSet<DateTime<Utc>>>,
    /// The times of the calls so far.
    calls: Mutex<Vec<Range<DateTime<Utc>>>>,
    /// While true, replies wait.
    held: watch::Sender<bool>,
}

impl Calendar {
    pub(super) fn router(self: &Arc<Self>) -> Router {
        let calendar = Arc::clone(self);
        let free = move |extract::Path(tutor): extract::Path, uri: Uri| {
            let calendar = Arc::clone(&calendar);
            async move { calendar.free(&tutor, &uri).await }
        };
        Router::new().route("/tutors/{id}/slots", get(free))
    }

    async fn free(&self, tutor: &str, uri: &Uri) -> Result<axum::Json<Slots>> {
        let query = extract::query(uri)?;
        let instant = |name| extract::instant(&query, name).unwrap().unwrap();
        let times = instant("from")..instant("to");
        self.calls.lock().unwrap().push(times.clone());
        // As a database does: the rows are read before a booking that commits meanwhile.
        let taken = self.taken.lock().unwrap().clone();
        let _ = self.held.subscribe().wait_for(|held| !held).await;
        if tutor != "1" {
            return Err(Code::TutorNotFound.into());
        }
        let now = Utc::now();
        let (from, to) = (times.start.max(now), times.end.min(now + HORIZON));
        let first = from.with_minute(0).unwrap().with_second(0).unwrap().with_nanosecond(0).unwrap();
        let hours = (0..).map(|hour| first + TimeDelta::hours(hour)).take_while(|start| *start < to);
        let free = hours.filter(|start| *start >= from && !taken.contains(start));
        let slots = free.map(|starts_at| Slot { starts_at, ends_at: starts_at + TimeDelta::hours(1) });
        Ok(axum::Json(Slots { tutor_id: 1, time_zone: "Asia/Kathmandu".into(), slots: slots.collect() }))
    }

    /// Returns the days of each call since the last time, from the first to the day after the last.
    fn new_calls(&self) -> Vec<(i64, i64)> {
        let calls = std::mem::take(&mut *self.calls.lock().unwrap());
        let day = |instant: DateTime<Utc>| {
            assert_eq!(instant.time(), NaiveTime::MIN, "a call is for whole days");
            (instant.date_naive() - today()).num_days()
        };
        let mut days: Vec<_> = calls.into_iter().map(|times| (day(times.start), day(times.end))).collect();
        days.sort_unstable();
        days
    }
}

fn today() -> NaiveDate {
    Utc::now().date_naive()
}

/// An instant so many days and hours after the beginning of today.
fn at(day: u64, hour: u32) -> DateTime<Utc> {
    (today() + Days::new(day)).and_hms_opt(hour, 0, 0).unwrap().and_utc()
}

fn text(instant: DateTime<Utc>) -> String {
    instant.to_rfc3339_opts(chrono::SecondsFormat::Secs, true)
}

impl Setup {
    async fn free(&self, gateway: usize, from: DateTime<Utc>, to: DateTime<Utc>) -> Vec<DateTime<Utc>> {
        let path = format!("/tutors/1/slots?from={}&to={}", text(from), text(to));
        let (status, body) =
            get_from(&self.gateways[gateway], &path, &format!("Bearer {}", self.token)).await;
        assert_eq!(status, StatusCode::OK);
        let slots: Slots = serde_json::from_slice(&body).unwrap();
        assert_eq!((slots.tutor_id, slots.time_zone.as_str()), (1, "Asia/Kathmandu"));
        slots.slots.into_iter().map(|slot| slot.starts_at).collect()
    }
}

/// Deletes the slots of a day, as booking does after a commit.
async fn delete(cache: &str, day: u64) {
    let keys = vec![slots_key(1, today() + Days::new(day))];
    let body = serde_json::to_vec(&DeleteRequest { keys }).unwrap();
    let request = Request::post(format!("{cache}/delete")).body(Full::new(Bytes::from(body))).unwrap();
    assert_eq!(peer::client().request(request).await.unwrap().status(), StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_days_that_are_not_cached_are_read_and_contiguous_ones_at_once() {
    let setup = Setup::new().await;
    assert_eq!(setup.free(0, at(3, 0), at(5, 0)).await.len(), 48);
    assert_eq!(setup.calendar.new_calls(), [(3, 5)]);
    assert_eq!(setup.free(0, at(3, 0), at(5, 0)).await.len(), 48);
    assert_eq!(setup.calendar.new_calls(), []);
    let all = setup.free(0, at(1, 0), at(8, 0)).await;
    assert_eq!(setup.calendar.new_calls(), [(1, 3), (5, 8)]);
    assert_eq!(all, (0..7 * 24).map(|hour| at(1, 0) + TimeDelta::hours(hour)).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reply_is_clipped_to_the_request_the_clock_and_the_horizon() {
    let setup = Setup::new().await;
    let half = TimeDelta::minutes(30);
    assert_eq!(setup.free(0, at(2, 10) + half, at(2, 12)).await, [at(2, 11)]);
    assert!(setup.free(0, at(2, 10), at(2, 10)).await.is_empty(), "no time at all");
    let before = Utc::now();
    for _ in 0..2 {
        let all = setup.free(0, before - TimeDelta::days(3), before + TimeDelta::days(365)).await;
        let after = Utc::now();
        assert!(all[0] >= before && all[all.len() - 1] < after + HORIZON, "{all:?}");
        assert!((1343..=1345).contains(&all.len()), "{} hours in eight weeks", all.len());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_day_is_read_again_and_the_others_are_not() {
    let reads = watch::Sender::new(0);
    let cache = cache(&[], &reads).await;
    let setup = Setup::with_caches(&[&cache, &cache], reads).await;
    setup.free(0, at(1, 0), at(8, 0)).await;
    setup.calendar.taken.lock().unwrap().insert(at(4, 9));
    delete(&cache, 4).await;
    setup.calendar.new_calls();
    for gateway in [0, 1] {
        let free = setup.free(gateway, at(1, 0), at(8, 0)).await;
        assert!(free.len() == 7 * 24 - 1 && !free.contains(&at(4, 9)), "{free:?}");
    }
    assert_eq!(setup.calendar.new_calls(), [(4, 5)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_that_began_before_a_delete_is_not_stored() {
    let reads = watch::Sender::new(0);
    let cache = cache(&[], &reads).await;
    let setup = Arc::new(Setup::with_caches(&[&cache], reads).await);
    setup.calendar.held.send_replace(true);
    let reader = Arc::clone(&setup);
    let early = tokio::spawn(async move { reader.free(0, at(4, 0), at(5, 0)).await });
    let give_up = Instant::now() + Duration::from_secs(30);
    while setup.calendar.calls.lock().unwrap().is_empty() {
        assert!(Instant::now() < give_up, "booking was not called");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    setup.calendar.taken.lock().unwrap().insert(at(4, 9));
    delete(&cache, 4).await;
    setup.calendar.held.send_replace(false);
    assert!(early.await.unwrap().contains(&at(4, 9)), "its read began before the booking");
    assert!(!setup.free(0, at(4, 0), at(5, 0)).await.contains(&at(4, 9)));
    assert_eq!(setup.calendar.new_calls(), [(4, 5), (4, 5)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_reads_over_all_gateways_cost_one_call() {
    let reads = watch::Sender::new(0);
    let cache = cache(&[], &reads).await;
    let setup = Setup::with_caches(&[cache.as_str(); 4], reads).await;
    let replies = join_all((0..32).map(|request| setup.free(request % 4, at(1, 0), at(8, 0)))).await;
    assert!(replies.iter().all(|free| free.len() == 7 * 24));
    assert_eq!(setup.calendar.new_calls(), [(1, 8)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_is_not_cached_and_returns_the_leases() {
    let setup = Setup::new().await;
    let started = Instant::now();
    for _ in 0..2 {
        let (status, body) = setup.get("/tutors/2/slots", &format!("Bearer {}", setup.token)).await;
        let problem: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert_eq!((status, &problem["code"]), (StatusCode::NOT_FOUND, &"tutor_not_found".into()));
    }
    assert!(started.elapsed() < LEASE, "it waited for the end of the leases: {:?}", started.elapsed());
    assert_eq!(setup.calendar.new_calls().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn slots_are_read_without_the_cache() {
    let setup = Setup::with_caches(&["http://127.0.0.1:1"], watch::Sender::new(0)).await;
    for _ in 0..2 {
        assert_eq!(setup.free(0, at(3, 0), at(5, 0)).await.len(), 48);
    }
    assert_eq!(setup.calendar.new_calls(), [(3, 5), (3, 5)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn invalid_times_are_rejected() {
    let setup = Setup::new().await;
    let reversed = format!("/tutors/1/slots?from={}&to={}", text(at(2, 0)), text(at(1, 0)));
    for (path, status) in
        [(reversed.as_str(), 422), ("/tutors/1/slots?from=tomorrow", 400), ("/tutors/one/slots", 404)]
    {
        let (reply, _) = setup.get(path, &format!("Bearer {}", setup.token)).await;
        assert_eq!(reply.as_u16(), status, "{path}");
    }
    assert_eq!(setup.calendar.new_calls(), []);
}
