//! The outbox: a confirmed booking is notified once, whichever process dies in between.
//!
//! Each test has a queue, a booking service and a notification service of its own, which it starts and kills at will, on the
//! database of a stack whose own ones are stopped.

mod path;

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::json;

use crate::harness::{eventually, send_signal};
use path::{Path, Role};

#[tokio::test(flavor = "multi_thread")]
async fn a_booking_survives_its_service_that_is_killed_before_it_publishes() {
    let mut path = Path::prepare().await;
    path.booking.start();
    let booking = path.book().await;
    path.booking.kill();
    assert_eq!(path.outbox().await, [("booking_notification".to_owned(), booking)], "the queue was down");

    path.queue.start();
    path.notification.start();
    path.booking.start();
    path.is_notified().await;
    assert_eq!(path.effects().await, [booking]);
    assert_eq!(path.deliveries().await, [(booking, 1)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_is_published_again_when_the_queue_lost_it() {
    let mut path = Path::prepare().await;
    path.booking.set("OUTBOX_REPUBLISH_MS", "1500").set("NOTIFICATION_LEASE_MS", "1000");
    path.queue.start();
    path.booking.start();
    let booking = path.book().await;
    eventually("the queue has the task", || path.queue.metric("queue_tasks_waiting") == Some(1.0));
    path.queue.kill();

    path.queue.start();
    path.notification.start();
    path.is_notified().await;
    assert_eq!(path.effects().await, [booking]);
    let republished = r#"outbox_republications_total{kind="booking_notification"}"#;
    assert!(path.booking.metric(republished) >= Some(1.0));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_task_of_a_killed_worker_has_one_effect() {
    let mut path = Path::prepare().await;
    path.notification.set("NOTIFICATION_DELAY_MS", "1500").set("NOTIFICATION_LEASE_MS", "2000");
    path.start().await;
    let booking = path.book().await;
    eventually("the task is leased", || path.queue.metric("queue_tasks_leased") == Some(1.0));
    path.notification.kill();

    path.notification.start();
    path.is_notified().await;
    assert_eq!(path.effects().await, [booking]);
}

#[tokio::test(flavor = "multi_thread")]
async fn redelivered_tasks_have_one_effect() {
    let mut path = Path::prepare().await;
    path.queue.start();
    path.booking.start();
    let booking = path.book().await;
    let payload = json!({ "booking_id": booking, "student_id": 1, "tutor_id": 1 });
    for _ in 0..3 {
        path.enqueue("booking_notification", payload.clone()).await;
    }
    // All tasks are processed at the same time, by two processes.
    path.notification.set("NOTIFICATION_DELAY_MS", "300").set("NOTIFICATION_CONCURRENCY", "2");
    let mut second = Role::new("notification", &path.notification);
    path.notification.start();
    second.start();
    eventually("every task is acknowledged", || {
        path.queue.metric("queue_tasks_acknowledged_total") == Some(4.0)
    });
    assert_eq!(path.effects().await, [booking]);
    assert_eq!(path.deliveries().await, [(booking, 1)]);
    path.is_notified().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_poison_task_is_parked_and_its_event_is_notified_after_a_redrive() {
    let mut path = Path::prepare().await;
    path.queue.set("QUEUE_MAX_ATTEMPTS", "2");
    path.start().await;
    // Its booking does not exist yet.
    let missing = 1_000_000;
    let payload = json!({ "booking_id": missing, "student_id": 1, "tutor_id": 1 });
    let poison = path.insert_event(&payload.to_string()).await;
    let malformed = path.insert_event(r#"{"booking_id":"one"}"#).await;
    let booking = path.book().await;
    eventually("two tasks are dead letters", || path.queue.metric("queue_tasks_dead") == Some(2.0));
    assert_eq!(path.effects().await, [booking], "other bookings do not wait");
    path.is_notified().await;
    let parked = path.parked().await;
    assert_eq!(parked[0], (poison, format!("no booking {missing}")));
    assert!(parked[1].0 == malformed && parked[1].1.starts_with("invalid payload: "), "{parked:?}");

    path.insert_booking(missing).await;
    let redriven = path.queue.post("/redrive", &json!({ "ids": [] })).await;
    assert_eq!(redriven["redriven"], 2);
    path.eventually("the event that succeeds is no longer parked", async || path.parked().await.len() == 1)
        .await;
    assert_eq!(path.effects().await, [booking, missing]);
    assert_eq!(path.parked().await[0].0, malformed);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_queue_delays_events_and_loses_none() {
    let mut path = Path::prepare().await;
    path.queue.set("QUEUE_CAPACITY", "2");
    path.queue.start();
    path.booking.start();
    let mut bookings = Vec::new();
    for _ in 0..8 {
        bookings.push(path.book().await);
    }
    assert_eq!(path.outbox().await.len(), 8);
    path.notification.start();
    path.is_notified().await;
    assert_eq!(path.effects().await, bookings);
}

#[tokio::test(flavor = "multi_thread")]
async fn commits_are_announced_also_after_the_listening_connection_was_lost() {
    let mut path = Path::prepare().await;
    // Longer than the test: an event that is not announced is not published.
    path.booking.set("OUTBOX_POLL_MS", "600000");
    path.start().await;
    let listening = || path.booking.metric("outbox_listening") == Some(1.0);
    eventually("the relay listens", listening);
    let started = Instant::now();
    path.book().await;
    path.is_notified().await;
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());

    let terminate = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
        WHERE application_name = 'outbox listener'";
    let terminated: i64 = sqlx::query_scalar(terminate).fetch_one(&path.database).await.unwrap();
    // The stopped service of the stack listens, too.
    assert!(terminated >= 1);
    // The relay may have read the outbox before it listens again.
    path.book().await;
    path.is_notified().await;

    // A stopped backend is a half-open connection: it takes what is sent, and nothing comes back.
    eventually("the relay listens again", listening);
    let listener = path.listener().await;
    send_signal(listener, Signal::SIGSTOP);
    path.book().await;
    path.is_notified().await;
    send_signal(listener, Signal::SIGCONT);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_relays_publish_each_event_once() {
    let mut path = Path::prepare().await;
    path.start().await;
    let mut second = Role::new("booking", &path.booking);
    second.start();
    for _ in 0..10 {
        futures::future::join_all([&path.booking, &path.booking, &second, &second].map(path::book)).await;
    }
    path.is_notified().await;
    assert_eq!(path.effects().await.len(), 40);
    let published = r#"outbox_publications_total{kind="booking_notification"}"#;
    let publications = path.booking.metric(published).unwrap() + second.metric(published).unwrap();
    assert!((publications - 40.0).abs() < 0.5, "{publications}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deletion_of_cached_slots_waits_for_the_cache() {
    let mut path = Path::prepare().await;
    let mut cache = Role::new("cache", &path.queue);
    path.booking.set("CACHE_URL", &cache.url());
    path.start().await;
    let booking = path.book().await;
    path.eventually("the notification is sent", async || path.effects().await == [booking]).await;
    assert_eq!(path.outbox().await, [("cache_delete".to_owned(), booking)], "the cache was down");

    cache.start();
    path.has_none_of("cache_delete").await;
    let deleted = cache.metric(
        r#"http_server_request_duration_seconds_count{http_request_method="POST",http_route="/delete",http_response_status_code="200"}"#,
    );
    assert_eq!(deleted, Some(1.0));
}

#[tokio::test(flavor = "multi_thread")]
async fn idempotency_keys_are_removed_after_a_day() {
    let mut path = Path::prepare().await;
    let insert = "INSERT INTO idempotency_keys (student_id, key, fingerprint, reply, created_at)
        SELECT 1, 'key ' || hours, '', '', now() - make_interval(hours => hours)
        FROM unnest(ARRAY[1, 23, 25]) AS hours";
    sqlx::query(insert).execute(&path.database).await.unwrap();
    path.booking.start();
    path.eventually("one key is removed", async || {
        let keys = "SELECT key FROM idempotency_keys ORDER BY key";
        let left: Vec<String> = sqlx::query_scalar(keys).fetch_all(&path.database).await.unwrap();
        left == ["key 1", "key 23"]
    })
    .await;
}
