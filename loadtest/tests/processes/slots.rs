//! Slots: their grid and zones, races for them, cancellation, and processes that stop in the middle of a booking.

use std::collections::BTreeSet;
use std::process::Command;
use std::time::{Duration, Instant};

use chrono::{DateTime, TimeDelta, Timelike as _, Utc};
use nix::sys::signal::Signal;
use reqwest::{Client, Method};
use serde_json::{Value, json};
use sqlx::PgPool;

use crate::bad_input::refused;
use crate::harness::{
    Answer, Api, BookingsLock, RoleProcess, Stack, answer, count_bookings, http, send_signal,
};

/// A further booking service on the stack's database.
pub(crate) fn second_booking_service(
    stack: &Stack,
    change: impl FnOnce(&mut Command),
) -> (RoleProcess, String) {
    let (role, address) = RoleProcess::start("booking", |serve| {
        serve
            .env("DATABASE_URL", &stack.addresses.database_url)
            .env("QUEUE_URL", &stack.addresses.queue)
            .env("OTEL_EXPORTER_OTLP_ENDPOINT", "");
        change(serve);
    });
    (role, format!("http://{address}"))
}

/// Books at a booking service, which believes the student's id.
async fn book(service: &str, student: i64, tutor: i64, starts_at: &str) -> Answer {
    book_with(&http(), service, student, tutor, starts_at).await
}

async fn book_with(client: &Client, service: &str, student: i64, tutor: i64, starts_at: &str) -> Answer {
    let request = json!({ "student_id": student, "tutor_id": tutor, "starts_at": starts_at });
    answer(client.post(format!("{service}/book")).json(&request)).await
}

/// The starts of a tutor's free slots, in the text of the reply.
async fn free(service: &str, tutor: i64, query: &str) -> Vec<String> {
    let slots = answer(http().get(format!("{service}/tutors/{tutor}/slots{query}"))).await;
    assert_eq!(slots.status, 200, "{}", slots.text);
    starts(&slots.json)
}

fn starts(slots: &Value) -> Vec<String> {
    let slots = slots["slots"].as_array().unwrap();
    slots.iter().map(|slot| slot["starts_at"].as_str().unwrap().to_owned()).collect()
}

fn instant(text: &str) -> DateTime<Utc> {
    text.parse().unwrap()
}

async fn database(stack: &Stack) -> PgPool {
    PgPool::connect(&stack.addresses.database_url).await.unwrap()
}

/// Pairs of lessons that are not cancelled, overlap, and have a tutor or a student in common.
async fn overlaps(database: &PgPool) -> i64 {
    let overlaps = "SELECT count(*) FROM bookings a JOIN bookings b ON a.id < b.id AND a.during && b.during
        AND (a.tutor_id = b.tutor_id OR a.student_id = b.student_id)
        WHERE a.cancelled_at IS NULL AND b.cancelled_at IS NULL";
    sqlx::query_scalar(overlaps).fetch_one(database).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_racers_never_share_a_slot() {
    // So that no racer waits too long for a connection to the database on a busy machine.
    const REQUEST_TIMEOUT: (&str, &str) = ("REQUEST_TIMEOUT_MS", "60000");
    let stack = Stack::start_with(|up| {
        up.args(["--tutors", "20", "--students", "200"]).env(REQUEST_TIMEOUT.0, REQUEST_TIMEOUT.1);
    });
    let database = database(&stack).await;
    let (_second, second) = second_booking_service(&stack, |serve| {
        serve.env(REQUEST_TIMEOUT.0, REQUEST_TIMEOUT.1);
    });
    let services = [stack.addresses.booking.as_str(), &second];
    // 50 half hours of 20 tutors: each slot overlaps its neighbours.
    let mut slots = Vec::new();
    for tutor in 1..=20 {
        slots.push(free(services[0], tutor, "").await[..50].to_vec());
    }
    let client = http();
    let racer = async |student: i64| {
        let mut replies = Vec::new();
        for round in 0..5 {
            // Of about ten racers for a tutor, four choose one slot, and the others the ones beside it.
            let group = (student - 1) as usize / 4;
            let (tutor, slot) = ((group + round) % 20, group / 20 + 5 * round);
            let service = services[(student % 2) as usize];
            replies.push(book_with(&client, service, student, tutor as i64 + 1, &slots[tutor][slot]).await);
        }
        replies
    };
    let replies: Vec<Answer> =
        futures::future::join_all((1..=200).map(racer)).await.into_iter().flatten().collect();
    let booked = replies.iter().filter(|reply| reply.status == 200).count();
    for lost in replies.iter().filter(|reply| reply.status != 200) {
        assert_eq!(lost.refusal(), (409, "slot_taken"), "{}", lost.text);
        let alternatives = lost.json["alternatives"].as_array().unwrap();
        assert!((1..=5).contains(&alternatives.len()), "{}", lost.text);
    }
    assert!((80..900).contains(&booked), "{booked} of {}", replies.len());
    assert_eq!(count_bookings(&database).await, booked as i64);
    assert_eq!(overlaps(&database).await, 0);
    let deadlocks: i64 = sqlx::query_scalar("SELECT sum(deadlocks)::bigint FROM pg_stat_database")
        .fetch_one(&database)
        .await
        .unwrap();
    assert_eq!(deadlocks, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn slots_are_on_the_local_grid_of_their_tutor_and_do_not_depend_on_the_zone_of_the_database() {
    let stack = Stack::start_with(|up| {
        up.args(["--tutors", "3", "--students", "2"]);
    });
    let api = Api::log_in(&stack).await;
    let database = database(&stack).await;
    for (tutor, zone, minutes) in
        [(1, "Europe/Berlin", [0, 30]), (2, "America/New_York", [0, 30]), (3, "Asia/Kathmandu", [15, 45])]
    {
        let slots = answer(api.request(Method::GET, &format!("/tutors/{tutor}/slots"))).await;
        assert_eq!((slots.status, &slots.json["time_zone"]), (200, &json!(zone)), "{}", slots.text);
        let starts: Vec<DateTime<Utc>> = starts(&slots.json).iter().map(|start| instant(start)).collect();
        let found: BTreeSet<u32> = starts.iter().map(|start| start.minute()).collect();
        assert_eq!(found, BTreeSet::from(minutes), "{zone}");
        assert!(starts.is_sorted() && starts[0] > Utc::now() - TimeDelta::minutes(1));
        assert!(starts[starts.len() - 1] < Utc::now() + TimeDelta::days(7), "one week by default");
    }
    sqlx::query("ALTER DATABASE postgres SET timezone TO 'Pacific/Chatham'")
        .execute(&database)
        .await
        .unwrap();
    let (_second, second) = second_booking_service(&stack, |_| {});
    let day = Utc::now().date_naive() + TimeDelta::days(2);
    let query = format!("?from={day}T00:00:00Z&to={day}T23:00:00Z");
    let free_slots = free(&second, 3, &query).await;
    assert_eq!(free_slots, free(&stack.addresses.booking, 3, &query).await);
    let booked = book(&second, 1, 3, &free_slots[4]).await;
    assert_eq!((booked.status, &booked.json["starts_at"]), (200, &json!(free_slots[4])), "{}", booked.text);
    let left = free(&stack.addresses.booking, 3, &query).await;
    let gone: Vec<&String> = free_slots.iter().filter(|start| !left.contains(start)).collect();
    assert_eq!(
        gone,
        [&free_slots[3], &free_slots[4], &free_slots[5]],
        "the lesson and those that overlap it"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_time_the_earliest_slot_that_is_free_for_both_is_booked() {
    let stack = Stack::start_small();
    let service = &stack.addresses.booking;
    let database = database(&stack).await;
    let booked_at = async |student: i64, tutor: i64| {
        let request = json!({ "student_id": student, "tutor_id": tutor });
        let booked = answer(http().post(format!("{service}/book")).json(&request)).await;
        assert_eq!(booked.status, 200, "{}", booked.text);
        booked.json["starts_at"].as_str().unwrap().to_owned()
    };
    sqlx::query("UPDATE tutors SET time_zone = 'UTC'").execute(&database).await.unwrap();
    let all = free(service, 1, "").await;
    let next = |start: &str| {
        let end = instant(start) + TimeDelta::hours(1);
        all.iter().find(|slot| instant(slot) >= end).unwrap().clone()
    };
    let first = booked_at(1, 1).await;
    assert_eq!(first, all[0]);
    // The student is busy, and then the tutor is.
    assert_eq!(booked_at(1, 2).await, next(&first));
    assert_eq!(booked_at(2, 1).await, next(&first));
    assert_eq!(overlaps(&database).await, 0);
    sqlx::query("DELETE FROM weekly_hours WHERE tutor_id = 2").execute(&database).await.unwrap();
    let request = json!({ "student_id": 1, "tutor_id": 2 });
    let refused = answer(http().post(format!("{service}/book")).json(&request)).await;
    assert_eq!(refused.refusal(), (409, "no_free_slot"), "{}", refused.text);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_booking_frees_its_slot_and_keeps_its_row() {
    let stack = Stack::start_small();
    let api = Api::log_in(&stack).await;
    let database = database(&stack).await;
    // Without the gateway's cache.
    let slots = || free(&stack.addresses.booking, 1, "");
    let before = slots().await;
    let body = json!({ "student_id": 1, "tutor_id": 1, "starts_at": before[3] }).to_string();
    let booked = answer(api.book(body.clone())).await;
    assert_eq!(booked.status, 200, "{}", booked.text);
    assert_eq!(slots().await.len(), before.len() - 3);
    let id = booked.json["booking_id"].as_i64().unwrap();
    let cancel = |id: &str| api.request(Method::DELETE, &format!("/bookings/{id}"));
    let cancelled = answer(cancel(&id.to_string())).await;
    assert_eq!(
        (cancelled.status, &cancelled.json["status"]),
        (200, &json!("cancelled")),
        "{}",
        cancelled.text
    );
    assert_eq!(slots().await, before);
    let bookings = answer(api.request(Method::GET, "/bookings")).await.json;
    assert_eq!(bookings["bookings"][0]["cancelled_at"], cancelled.json["cancelled_at"]);
    assert_eq!(bookings["bookings"][0]["starts_at"], before[3]);
    refused("cancelled twice", cancel(&id.to_string()), 409, "already_cancelled").await;
    let again = answer(api.book(body)).await;
    assert_eq!((again.status, again.json["booking_id"] == booked.json["booking_id"]), (200, false));

    let of_another =
        book(&stack.addresses.booking, 2, 2, &free(&stack.addresses.booking, 2, "").await[0]).await;
    assert_eq!(of_another.status, 200, "{}", of_another.text);
    refused("another student's", cancel(&of_another.json["booking_id"].to_string()), 404, "not_found").await;
    for unknown in ["424242", "-1", "x", "99999999999999999999", "1%00"] {
        refused(unknown, cancel(unknown), 404, "not_found").await;
    }
    let without_token = api.anonymous(Method::DELETE, &format!("/bookings/{id}"));
    refused("without a token", without_token, 401, "missing_credentials").await;
    let rows: Vec<bool> = sqlx::query_scalar("SELECT cancelled_at IS NOT NULL FROM bookings ORDER BY id")
        .fetch_all(&database)
        .await
        .unwrap();
    assert_eq!(rows, [true, false, false]);
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_times_are_refused_and_nothing_is_written() {
    let stack = Stack::start_small();
    let api = Api::log_in(&stack).await;
    let database = database(&stack).await;
    let free = starts(&answer(api.request(Method::GET, "/tutors/1/slots")).await.json);
    let slot = &free[free.len() - 1];
    let (date, minute) = (&slot[..10], &slot[..16]);
    let far = |time: TimeDelta| {
        let at = (Utc::now() + time).date_naive();
        format!("{at}T12:00:00Z")
    };
    for (starts_at, code) in [
        (json!(far(-TimeDelta::days(2))), "invalid_slot"),
        (json!("0001-01-01T00:00:00Z"), "invalid_slot"),
        (json!(far(TimeDelta::days(58))), "invalid_slot"),
        (json!("9999-12-31T23:00:00Z"), "invalid_slot"),
        (json!(format!("{date}T02:00:00Z")), "invalid_slot"),
        (json!(format!("{minute}:01Z")), "invalid_slot"),
        (json!(format!("{minute}:00.000000001Z")), "invalid_slot"),
        (json!(format!("{minute}:60Z")), "invalid_slot"),
        (json!(format!("{date}T12:15:00Z")), "invalid_slot"),
        (json!(format!("{minute}:00")), "invalid_request"),
        (json!(format!("{minute}:00+0100")), "invalid_request"),
        (json!(format!("{date} 12:00:00Z")), "invalid_request"),
        (json!("tomorrow"), "invalid_request"),
        (json!(""), "invalid_request"),
        (json!(1_800_000_000), "invalid_request"),
        (json!([slot]), "invalid_request"),
    ] {
        let body = json!({ "student_id": 1, "tutor_id": 1, "starts_at": starts_at }).to_string();
        refused(&body, api.book(body.clone()), 422, code).await;
    }
    let slots = |path: &str| api.request(Method::GET, path);
    for (path, status, code) in [
        ("/tutors/1/slots?from=yesterday", 400, "malformed_request"),
        ("/tutors/1/slots?from=2026-12-01T09:00:00+01:00", 400, "malformed_request"),
        ("/tutors/1/slots?to=2026-12-01", 400, "malformed_request"),
        ("/tutors/1/slots?from=%FF", 400, "malformed_request"),
        ("/tutors/1/slots?from=2026-12-02T00:00:00Z&to=2026-12-01T00:00:00Z", 422, "invalid_request"),
        ("/tutors/424242/slots", 404, "tutor_not_found"),
        ("/tutors/Alice/slots", 404, "tutor_not_found"),
    ] {
        refused(path, slots(path), status, code).await;
    }
    let without_token = api.anonymous(Method::GET, "/tutors/1/slots");
    refused("without a token", without_token, 401, "missing_credentials").await;
    let everything = "/tutors/1/slots?from=0001-01-01T00:00:00Z&to=9999-12-31T23:59:59Z";
    let everything = starts(&answer(slots(everything)).await.json);
    let last = instant(&everything[everything.len() - 1]) - Utc::now();
    assert!(last < TimeDelta::weeks(8) && last > TimeDelta::days(55), "clipped to the horizon: {last}");
    let beyond = format!("/tutors/1/slots?from={}", far(TimeDelta::days(100)));
    assert_eq!(answer(slots(&beyond)).await.json["slots"], json!([]));
    assert_eq!(count_bookings(&database).await, 0);

    // The same instant in another zone, with small letters and a fraction of zero.
    let local = instant(slot).with_timezone(&chrono::FixedOffset::east_opt(20_700).unwrap());
    let local = local.format("%Y-%m-%dt%H:%M:%S.000%:z").to_string();
    let booked =
        answer(api.book(json!({ "student_id": 1, "tutor_id": 1, "starts_at": local }).to_string())).await;
    assert_eq!((booked.status, &booked.json["starts_at"]), (200, &json!(slot)), "{}", booked.text);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_stops_in_its_transaction_blocks_others_for_at_most_five_seconds() {
    let stack = Stack::start_small();
    let database = database(&stack).await;
    let (stopped, address) = second_booking_service(&stack, |_| {});
    let slots = free(&address, 1, "").await;
    let lock = BookingsLock::acquire(&database).await;
    let first = tokio::spawn({
        let (address, slot) = (address.clone(), slots[0].clone());
        async move { book(&address, 1, 1, &slot).await }
    });
    lock.is_awaited().await;
    send_signal(stopped.pid(), Signal::SIGSTOP);
    lock.release().await;
    let started = Instant::now();
    let booked = book(&stack.addresses.booking, 2, 1, &slots[4]).await;
    assert_eq!(booked.status, 200, "{}", booked.text);
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
    send_signal(stopped.pid(), Signal::SIGCONT);
    // The interrupted transaction was rolled back. The process repeats it.
    let first = first.await.unwrap();
    assert_eq!(first.status, 200, "{}", first.text);
    assert_eq!(count_bookings(&database).await, 2);
}
