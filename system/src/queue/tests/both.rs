//! What every storage must do, through the routes, in real time.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;

use axum::http::StatusCode;
use futures::future::join_all;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::nats_server::NatsServer;
use super::*;

const ONE_ATTEMPT: Limits = Limits { attempts: 1, ..LIMITS };
const MANY: Limits = Limits { tasks: 1000, ..LIMITS };

/// Runs each of the functions below on both storages.
macro_rules! on_both_storages {
    ($($test:ident: $limits:expr;)+) => {
        mod in_memory {
            use super::*;
            $(#[tokio::test]
            async fn $test() {
                super::$test(&Client::open($limits, CancellationToken::new())).await;
            })+
        }
        mod on_nats {
            use super::*;
            $(#[tokio::test]
            async fn $test() {
                let server = NatsServer::start().await;
                super::$test(&server.client($limits).await).await;
            })+
        }
    };
}

on_both_storages! {
    tasks_are_leased_in_order_and_once_with_all_their_members: LIMITS;
    an_acknowledged_task_does_not_come_back: LIMITS;
    a_lease_that_expired_cannot_be_acknowledged: LIMITS;
    a_stale_acknowledgement_leaves_the_new_lease_alone: LIMITS;
    a_returned_task_comes_back_after_its_delay: LIMITS;
    a_task_returned_without_a_delay_comes_back_after_the_backoff: LIMITS;
    a_poison_task_dies_and_nothing_waits_for_it: LIMITS;
    an_expired_last_attempt_leaves_a_dead_letter: ONE_ATTEMPT;
    dead_letters_are_listed_in_pages_and_redriven: ONE_ATTEMPT;
    an_event_is_held_once_in_every_state: ONE_ATTEMPT;
    a_full_queue_refuses_tasks_until_one_is_acknowledged: Limits { tasks: 2, ..ONE_ATTEMPT };
    a_queue_that_is_full_by_size_still_works: Limits { bytes: 100_000, ..LIMITS };
    a_long_poll_ends_with_a_task_or_after_its_wait: LIMITS;
    several_consumers_get_each_task_once: MANY;
    dequeue_removes_a_task: LIMITS;
}

impl Client {
    async fn enqueue_event(&self, event: &str) -> (StatusCode, String) {
        let task = json!({ "task_type": "test", "payload": event, "event_id": event });
        let (status, reply) = self.call("POST", "/enqueue", task).await;
        (status, reply["task_id"].as_str().unwrap_or_default().to_owned())
    }
}

async fn tasks_are_leased_in_order_and_once_with_all_their_members(client: &Client) {
    let otel = json!({ "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01" });
    let mut ids = Vec::new();
    for n in 1..=5 {
        let task =
            json!({ "task_type": "test", "payload": { "n": n }, "otel": otel, "event_id": format!("e {n}") });
        ids.push(client.call("POST", "/enqueue", task).await.1["task_id"].clone());
    }
    let first = client.lease(3, 60_000, 0).await;
    let expected = json!({
        "id": ids[0], "lease": first[0]["lease"], "task_type": "test", "payload": { "n": 1 }, "otel": otel,
        "event_id": "e 1", "attempts": 1, "enqueued_at": first[0]["enqueued_at"],
    });
    assert_eq!(first[0], expected);
    let second = client.lease(3, 60_000, 0).await;
    let leased: Vec<&Value> = first.iter().chain(&second).map(|task| &task["id"]).collect();
    assert_eq!(leased, ids.iter().collect::<Vec<_>>());
    assert!(client.lease(3, 60_000, 0).await.is_empty());
}

async fn an_acknowledged_task_does_not_come_back(client: &Client) {
    client.enqueue(1).await;
    let task = client.lease(1, 400, 0).await.remove(0);
    assert_eq!(client.settle("/ack", &task, Value::Null).await, 200);
    assert_eq!(client.settle("/ack", &task, Value::Null).await, 404, "twice");
    assert!(client.lease(1, 60_000, 1000).await.is_empty(), "beyond the lease and the backoff");
}

async fn a_lease_that_expired_cannot_be_acknowledged(client: &Client) {
    client.enqueue(1).await;
    let task = client.lease(1, 100, 0).await.remove(0);
    assert_eq!(client.settle("/ack", &json!({ "id": task["id"], "lease": "1.x" }), Value::Null).await, 404);
    // Nobody leases the task while its lease expires.
    tokio::time::sleep(Duration::from_millis(110)).await;
    assert_eq!(client.settle("/ack", &task, Value::Null).await, 404);
    assert_eq!(client.settle("/nack", &task, Value::Null).await, 404);
    assert_eq!(client.lease_one().await["attempts"], 2);
}

async fn a_stale_acknowledgement_leaves_the_new_lease_alone(client: &Client) {
    client.enqueue(1).await;
    let stale = client.lease(1, 100, 0).await.remove(0);
    let current = client.lease_one().await;
    assert_eq!((&current["id"], &current["attempts"]), (&stale["id"], &json!(2)));
    assert_eq!(client.settle("/ack", &stale, Value::Null).await, 404);
    assert_eq!(client.settle("/nack", &stale, json!({ "delay_ms": 0 })).await, 404);
    assert!(client.lease(1, 60_000, 300).await.is_empty(), "the new lease is valid");
    assert_eq!(client.settle("/ack", &current, Value::Null).await, 200);
}

async fn a_returned_task_comes_back_after_its_delay(client: &Client) {
    client.enqueue(1).await;
    let task = client.lease_one().await;
    let start = Instant::now();
    assert_eq!(client.settle("/nack", &task, json!({ "delay_ms": 500 })).await, 200);
    client.enqueue(2).await;
    assert_eq!(client.lease_one().await["payload"], json!({ "n": 2 }), "nothing waits for it");
    let again = client.lease_one().await;
    assert_eq!((&again["id"], &again["attempts"]), (&task["id"], &json!(2)));
    assert!(start.elapsed() >= Duration::from_millis(500), "{:?}", start.elapsed());
    assert_eq!(client.settle("/nack", &again, json!({ "delay_ms": 0 })).await, 200);
    assert_eq!(client.lease_one().await["attempts"], 3, "at once");
}

async fn a_task_returned_without_a_delay_comes_back_after_the_backoff(client: &Client) {
    client.enqueue(1).await;
    let task = client.lease_one().await;
    let start = Instant::now();
    assert_eq!(client.settle("/nack", &task, Value::Null).await, 200);
    client.lease_one().await;
    assert!(start.elapsed() >= LIMITS.first_backoff / 2, "{:?}", start.elapsed());
}

async fn a_poison_task_dies_and_nothing_waits_for_it(client: &Client) {
    let (_, id) = client.enqueue_event("poison").await;
    for n in 2..=3 {
        client.enqueue(n).await;
    }
    for attempt in 1..=3 {
        let task = client.lease_one().await;
        assert_eq!((task["id"].as_str(), &task["attempts"]), (Some(id.as_str()), &json!(attempt)));
        let reason = json!({ "delay_ms": 0, "reason": format!("failure {attempt}") });
        assert_eq!(client.settle("/nack", &task, reason).await, 200);
    }
    let others = client.lease(10, 60_000, 0).await;
    assert_eq!(others.len(), 2);
    let dead = client.dead("").await.remove(0);
    let expected = json!({
        "id": id, "task_type": "test", "payload": "poison", "otel": {}, "event_id": "poison", "attempts": 3,
        "reason": "failure 3", "enqueued_at": dead["enqueued_at"], "died_at": dead["died_at"],
    });
    assert_eq!(dead, expected);
}

async fn an_expired_last_attempt_leaves_a_dead_letter(client: &Client) {
    client.enqueue(1).await;
    client.lease(1, 100, 0).await;
    assert!(client.lease(1, 100, 500).await.is_empty(), "no attempt is left");
    let dead = client.dead("").await.remove(0);
    assert_eq!((&dead["reason"], &dead["attempts"]), (&json!("expired"), &json!(1)));
}

async fn dead_letters_are_listed_in_pages_and_redriven(client: &Client) {
    let mut ids = Vec::new();
    for n in 0..5 {
        ids.push(client.enqueue_event(&format!("event {n}")).await.1);
    }
    for task in client.lease(5, 60_000, 0).await {
        client.settle("/nack", &task, Value::Null).await;
    }
    let listed =
        |dead: &[Value]| dead.iter().map(|task| task["id"].as_str().unwrap().to_owned()).collect::<Vec<_>>();
    assert_eq!(listed(&client.dead("?limit=2").await), ids[..2]);
    assert_eq!(listed(&client.dead(&format!("?limit=9&after={}", ids[1])).await), ids[2..]);

    let redrive = async |ids: Value| client.call("POST", "/redrive", json!({ "ids": ids })).await.1;
    assert_eq!(redrive(json!([ids[3], "999", "unknown"])).await, json!({ "redriven": 1 }));
    let redriven = client.lease_one().await;
    assert_eq!((&redriven["id"], &redriven["attempts"]), (&json!(ids[3]), &json!(1)));
    assert_eq!(client.settle("/ack", &redriven, Value::Null).await, 200);
    assert_eq!(redrive(json!([])).await, json!({ "redriven": 4 }));
    assert!(client.dead("").await.is_empty());
    let mut leased = Vec::new();
    while leased.len() < 4 {
        leased.push(client.lease_one().await["id"].as_str().unwrap().to_owned());
    }
    leased.sort_unstable();
    assert_eq!(leased, [&ids[..3], &ids[4..]].concat());
}

async fn an_event_is_held_once_in_every_state(client: &Client) {
    let (_, id) = client.enqueue_event("7").await;
    let held = (StatusCode::OK, id.clone());
    assert_eq!(client.enqueue_event("7").await, held, "waiting");
    let leased = client.lease_one().await;
    assert_eq!(client.enqueue_event("7").await, held, "leased");
    client.settle("/nack", &leased, Value::Null).await;
    assert_eq!(client.enqueue_event("7").await, held, "dead");
    assert!(client.lease(10, 60_000, 200).await.is_empty(), "the duplicates added nothing");
    client.call("POST", "/redrive", json!({})).await;
    let redriven = client.lease_one().await;
    assert_eq!(client.settle("/ack", &redriven, Value::Null).await, 200);
    // The event is published again, as the outbox does if it misses the effect.
    let (status, next) = client.enqueue_event("7").await;
    assert_eq!(status, 200);
    assert_ne!(next, id, "acknowledged");
    assert_eq!(client.lease_one().await["id"], json!(next));
}

async fn a_full_queue_refuses_tasks_until_one_is_acknowledged(client: &Client) {
    for n in 1..=2 {
        assert_eq!(client.enqueue(n).await, 200);
    }
    let leased = client.lease(2, 60_000, 0).await;
    assert_eq!(client.enqueue(3).await, 503, "leased tasks count");
    client.settle("/nack", &leased[0], Value::Null).await;
    assert_eq!(client.dead("").await.len(), 1);
    let task = json!({ "task_type": "test", "payload": 3 });
    let (status, problem) = client.call("POST", "/enqueue", task).await;
    assert_eq!(
        (status, &problem["code"]),
        (StatusCode::SERVICE_UNAVAILABLE, &json!("queue_full")),
        "dead ones, too"
    );
    assert_eq!(client.settle("/ack", &leased[1], Value::Null).await, 200);
    assert_eq!(client.enqueue(3).await, 200);
}

async fn a_queue_that_is_full_by_size_still_works(client: &Client) {
    let large = json!({ "task_type": "test", "payload": "x".repeat(40_000), "event_id": "large" });
    assert_eq!(client.call("POST", "/enqueue", large.clone()).await.0, 200);
    let mut other = large.clone();
    other["event_id"] = json!("other");
    assert_eq!(client.call("POST", "/enqueue", other.clone()).await.0, 200);
    let mut third = large.clone();
    third["event_id"] = json!("third");
    assert_eq!(client.call("POST", "/enqueue", third).await.0, 503);
    assert_eq!(client.call("POST", "/enqueue", large).await.0, 200, "held");
    for _ in 0..3 {
        let task = client.lease_one().await;
        assert_eq!(client.settle("/nack", &task, json!({ "delay_ms": 0 })).await, 200);
    }
    assert_eq!(client.dead("").await.len(), 1);
    assert_eq!(client.call("POST", "/redrive", json!({})).await.1, json!({ "redriven": 1 }));
}

async fn a_long_poll_ends_with_a_task_or_after_its_wait(client: &Client) {
    let start = Instant::now();
    assert!(client.lease(1, 60_000, 300).await.is_empty());
    assert!(start.elapsed() >= Duration::from_millis(300));
    let start = Instant::now();
    let (tasks, status) = tokio::join!(client.lease(5, 60_000, 10_000), client.enqueue(1));
    assert_eq!((tasks.len(), status), (1, StatusCode::OK));
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
}

async fn several_consumers_get_each_task_once(client: &Client) {
    let tasks = 200;
    let seen = Mutex::new(BTreeMap::<u64, u32>::new());
    let consumer = async || {
        loop {
            let leased = client.lease(7, 60_000, 500).await;
            if leased.is_empty() {
                return;
            }
            for task in leased {
                let n = task["payload"]["n"].as_u64().unwrap();
                *seen.lock().unwrap().entry(n).or_default() += 1;
                assert_eq!(client.settle("/ack", &task, Value::Null).await, 200);
            }
        }
    };
    let producer = join_all((0..tasks).map(|n| client.enqueue(n)));
    let (statuses, ..) = tokio::join!(producer, consumer(), consumer(), consumer(), consumer());
    assert!(statuses.iter().all(|status| *status == 200));
    let seen = seen.into_inner().unwrap();
    assert_eq!(seen, (0..tasks).map(|n| (n, 1)).collect());
}

async fn dequeue_removes_a_task(client: &Client) {
    assert_eq!(client.call("GET", "/dequeue", Value::Null).await.0, 404);
    client.enqueue(1).await;
    assert_eq!(client.call("GET", "/dequeue", Value::Null).await.1["payload"], json!({ "n": 1 }));
    assert_eq!(client.call("GET", "/dequeue", Value::Null).await.0, 404);
}
