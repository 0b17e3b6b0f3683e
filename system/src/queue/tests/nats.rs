//! What only the storage in NATS does: several processes, and a server that fails.

use std::time::Duration;

use axum::http::StatusCode;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::nats_server::{NatsServer, eventually};
use super::*;

const STREAM: &str = "WORKBENCH_TASKS";
const BUCKET: &str = "WORKBENCH_LEASES";

#[tokio::test]
async fn several_processes_serve_one_queue() {
    let server = NatsServer::start().await;
    let (one, two) = (server.client(LIMITS).await, server.client(LIMITS).await);
    let event = json!({ "task_type": "test", "payload": 1, "event_id": "7" });
    let id = one.call("POST", "/enqueue", event.clone()).await.1;
    assert_eq!(two.call("POST", "/enqueue", event).await.1, id, "the other process holds it");
    let task = two.lease_one().await;
    assert!(one.lease(1, 60_000, 200).await.is_empty());
    assert_eq!(one.settle("/ack", &task, Value::Null).await, 200);
    let (tasks, status) = tokio::join!(two.lease(1, 60_000, 10_000), one.enqueue(2));
    assert_eq!((tasks.len(), status), (1, StatusCode::OK), "a long poll at the other process");
}

/// The lease belongs to its consumer, not to the process that gave it.
#[tokio::test]
async fn a_lease_outlives_the_process_that_gave_it() {
    let server = NatsServer::start().await;
    let first = server.client(LIMITS).await;
    for n in 1..=2 {
        first.enqueue(n).await;
    }
    let kept = first.lease(1, 60_000, 0).await.remove(0);
    let lost = first.lease(1, 300, 0).await.remove(0);
    drop(first);
    let second = server.client(LIMITS).await;
    let again = second.lease_one().await;
    assert_eq!((&again["id"], &again["attempts"]), (&lost["id"], &json!(2)));
    assert_eq!(second.settle("/ack", &kept, Value::Null).await, 200);
}

#[tokio::test]
async fn tasks_survive_a_crash_of_nats_and_calls_fail_in_time_meanwhile() {
    let mut server = NatsServer::start().await;
    let queue = server.queue(LIMITS).await;
    let (ready, client) = (queue.readiness(), Client::of(queue));
    eventually("the queue is ready", async || ready().await.then_some(())).await;
    for n in 1..=3 {
        assert_eq!(client.enqueue(n).await, 200);
    }
    let returned = client.lease_one().await;
    assert_eq!(client.settle("/nack", &returned, json!({ "delay_ms": 1000 })).await, 200);
    let leased = client.lease(1, 60_000, 0).await.remove(0);

    server.kill();
    let start = Instant::now();
    let (lease, ack) = tokio::join!(
        client.call("POST", "/lease", json!({ "max": 1, "visibility_ms": 1000, "wait_ms": 20_000 })),
        client.settle("/ack", &leased, Value::Null)
    );
    assert_eq!((lease.0, ack), (StatusCode::SERVICE_UNAVAILABLE, StatusCode::SERVICE_UNAVAILABLE));
    assert_eq!(client.enqueue(4).await, 503);
    assert!(start.elapsed() < Duration::from_secs(3), "{:?}", start.elapsed());
    assert!(!ready().await);

    server.restart();
    eventually("the queue is ready again", async || ready().await.then_some(())).await;
    assert_eq!(client.settle("/ack", &leased, Value::Null).await, 200, "the lease is still valid");
    let mut left = Vec::new();
    while left.len() < 2 {
        let task = client.lease(1, 60_000, 10_000).await.pop().expect("a task");
        assert_eq!(client.settle("/ack", &task, Value::Null).await, 200);
        left.push((task["payload"]["n"].as_u64().unwrap(), task["attempts"].as_u64().unwrap()));
    }
    left.sort_unstable();
    assert_eq!(left, [(1, 2), (3, 1)], "the attempts are kept");
}

#[tokio::test]
async fn a_server_that_is_stopped_leads_to_503_within_the_request_timeout() {
    let server = NatsServer::start().await;
    let client = server.client(LIMITS).await;
    server.stop().await;
    let start = Instant::now();
    let status = client.enqueue(1).await;
    server.resume();
    assert_eq!(status, 503);
    assert!(start.elapsed() < Duration::from_secs(3), "{:?}", start.elapsed());
    eventually("the queue works again", async || (client.enqueue(2).await == 200).then_some(())).await;
}

#[tokio::test]
async fn a_queue_that_starts_before_nats_serves_when_nats_is_there() {
    let mut server = NatsServer::start().await;
    server.kill();
    let queue = server.queue(LIMITS).await;
    let (ready, client) = (queue.readiness(), Client::of(queue));
    assert!(!ready().await);
    assert_eq!(client.enqueue(1).await, 503);
    server.restart();
    eventually("the queue is ready", async || ready().await.then_some(())).await;
    assert_eq!(client.enqueue(1).await, 200);
}

#[tokio::test]
async fn what_is_gone_is_created_again() {
    let server = NatsServer::start().await;
    let client = server.client(LIMITS).await;
    let jetstream = server.jetstream().await;
    client.enqueue(1).await;
    client.lease(1, 100, 0).await;

    // The consumer: NATS delivers every message to the next one.
    let stream = jetstream.get_stream(STREAM).await.unwrap();
    let names: Vec<String> = futures::TryStreamExt::try_collect(stream.consumer_names()).await.unwrap();
    stream.delete_consumer(&names[0]).await.unwrap();
    assert_eq!(client.lease_one().await["attempts"], 2);

    // The bucket: attempts start again.
    jetstream.delete_key_value(BUCKET).await.unwrap();
    client.enqueue(2).await;
    let task = client.lease_one().await;
    assert_eq!(task["attempts"], 1);
    assert_eq!(client.settle("/ack", &task, Value::Null).await, 200);

    // The stream, with all tasks: the next ones are stored.
    jetstream.delete_stream(STREAM).await.unwrap();
    assert_eq!(client.enqueue(3).await, 200);
    let task = client.lease_one().await;
    assert_eq!(task["payload"], json!({ "n": 3 }));
    assert_eq!(client.settle("/ack", &task, Value::Null).await, 200);
}

/// The new stream counts from 1 again, so both tasks have the same id.
#[tokio::test]
async fn a_lease_from_an_earlier_stream_removes_no_task_of_the_new_one() {
    let server = NatsServer::start().await;
    let client = server.client(LIMITS).await;
    client.enqueue(1).await;
    let old = client.lease_one().await;
    server.jetstream().await.delete_stream(STREAM).await.unwrap();
    client.enqueue(2).await;
    let new = client.lease_one().await;
    assert_eq!(old["id"], new["id"]);
    client.settle("/ack", &old, Value::Null).await;
    assert_eq!(client.settle("/nack", &new, json!({ "delay_ms": 0 })).await, 200);
    let again = client.lease_one().await;
    assert_eq!((&again["payload"], &again["attempts"]), (&json!({ "n": 2 }), &json!(2)));
}

/// An entry that an earlier stream left neither hides a new task of its event nor counts against it.
#[tokio::test]
async fn an_entry_from_an_earlier_stream_is_void() {
    let server = NatsServer::start().await;
    let client = server.client(LIMITS).await;
    let event = json!({ "task_type": "test", "payload": 1, "event_id": "7" });
    client.call("POST", "/enqueue", event.clone()).await;
    client.lease_one().await;
    server.jetstream().await.delete_stream(STREAM).await.unwrap();
    client.call("POST", "/enqueue", event).await;
    assert_eq!(client.lease_one().await["attempts"], 1);
}
