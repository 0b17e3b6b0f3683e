//! The routes of the queue. Waits run under tokio's paused clock, so that their length is exact.

use axum::body::{Body, to_bytes};
use axum::http::{Request, StatusCode};
use serde_json::{Value, json};
use tower::ServiceExt as _;

use super::*;

struct Client(Router);

impl Client {
    fn new(capacity: usize) -> Self {
        Self::stopped_by(capacity, CancellationToken::new())
    }

    fn stopped_by(capacity: usize, stop: CancellationToken) -> Self {
        let queue = SharedQueue::open(capacity, usize::MAX, stop);
        Self(request_routes(queue.clone()).merge(poll_routes(queue)))
    }

    async fn call(&self, method: &str, path: &str, body: Value) -> (StatusCode, Value) {
        let body = if body.is_null() { Body::empty() } else { Body::from(body.to_string()) };
        let request = Request::builder().method(method).uri(path).body(body).unwrap();
        let response = self.0.clone().oneshot(request).await.unwrap();
        let status = response.status();
        let body = to_bytes(response.into_body(), usize::MAX).await.unwrap();
        (status, if body.is_empty() { Value::Null } else { serde_json::from_slice(&body).unwrap() })
    }

    async fn enqueue(&self, n: u64) -> StatusCode {
        self.call("POST", "/enqueue", json!({ "task_type": "test", "payload": { "n": n } })).await.0
    }

    async fn lease(&self, max: u64, visibility_ms: u64, wait_ms: u64) -> Vec<Value> {
        let request = json!({ "max": max, "visibility_ms": visibility_ms, "wait_ms": wait_ms });
        let (status, reply) = self.call("POST", "/lease", request).await;
        assert_eq!(status, StatusCode::OK);
        reply["tasks"].as_array().unwrap().clone()
    }
}

#[tokio::test]
async fn the_calls_of_the_original_system_work() {
    let client = Client::new(10);
    assert_eq!(client.call("GET", "/dequeue", Value::Null).await.0, StatusCode::NOT_FOUND);
    client.enqueue(1).await;
    client.enqueue(2).await;
    let (status, task) = client.call("GET", "/dequeue", Value::Null).await;
    assert_eq!((status, &task["payload"]), (StatusCode::OK, &json!({ "n": 1 })));
    assert_eq!(client.call("GET", "/dequeue", Value::Null).await.1["payload"], json!({ "n": 2 }));
    assert_eq!(client.call("GET", "/dequeue", Value::Null).await.0, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_head_request_takes_no_task() {
    let client = Client::new(10);
    client.enqueue(1).await;
    assert_eq!(client.call("HEAD", "/dequeue", Value::Null).await.0, StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(client.call("GET", "/dequeue", Value::Null).await.1["payload"], json!({ "n": 1 }));
}

#[tokio::test]
async fn a_full_queue_answers_503() {
    let client = Client::new(1);
    assert_eq!(client.enqueue(1).await, StatusCode::OK);
    let (status, problem) =
        client.call("POST", "/enqueue", json!({ "task_type": "test", "payload": 1 })).await;
    assert_eq!((status, &problem["code"]), (StatusCode::SERVICE_UNAVAILABLE, &json!("queue_full")));
}

#[tokio::test(start_paused = true)]
async fn a_long_poll_ends_with_a_task_or_after_its_wait() {
    let client = Client::new(10);
    let start = Instant::now();
    assert!(client.lease(1, 1000, 5000).await.is_empty());
    assert_eq!(start.elapsed(), Duration::from_secs(5));
    let (tasks, status) = tokio::join!(client.lease(1, 1000, 5000), client.enqueue(1));
    assert_eq!((tasks.len(), status), (1, StatusCode::OK));
    assert_eq!(start.elapsed(), Duration::from_secs(5), "the poll must end with the task");
}

#[tokio::test(start_paused = true)]
async fn an_expired_lease_wakes_a_long_poll() {
    let client = Client::new(10);
    client.enqueue(1).await;
    let first = client.lease(1, 2000, 0).await;
    let start = Instant::now();
    let again = client.lease(1, 2000, 30_000).await;
    assert_eq!(start.elapsed(), Duration::from_secs(2));
    assert_eq!(again[0]["attempts"], 2);
    let settle = |task: &Value| json!({ "id": task["id"], "lease": task["lease"] });
    assert_eq!(client.call("POST", "/ack", settle(&first[0])).await.0, StatusCode::NOT_FOUND);
    assert_eq!(client.call("POST", "/ack", settle(&again[0])).await.0, StatusCode::OK);
    assert_eq!(client.call("POST", "/ack", settle(&again[0])).await.0, StatusCode::NOT_FOUND);
}

/// Long polls that started before the lease are woken by its end as well, one for each task.
#[tokio::test(start_paused = true)]
async fn an_expired_lease_wakes_one_of_several_long_polls() {
    let client = Client::new(10);
    let start = Instant::now();
    let poll = || async {
        let tasks = client.lease(1, 2000, 5000).await;
        (start.elapsed().as_secs(), tasks.len())
    };
    let (first, second, third, fourth, _) = tokio::join!(poll(), poll(), poll(), poll(), client.enqueue(1));
    let mut polls = [first, second, third, fourth];
    polls.sort_unstable();
    assert_eq!(polls, [(0, 1), (2, 1), (4, 1), (5, 0)]);
}

#[tokio::test(start_paused = true)]
async fn tasks_that_expire_together_wake_one_long_poll_each() {
    let client = Client::new(10);
    for n in 1..=2 {
        client.enqueue(n).await;
    }
    assert_eq!(client.lease(2, 3000, 0).await.len(), 2);
    let start = Instant::now();
    let (first, second) = tokio::join!(client.lease(1, 60_000, 10_000), client.lease(1, 60_000, 10_000));
    assert_eq!((&first[0]["payload"], &second[0]["payload"]), (&json!({ "n": 1 }), &json!({ "n": 2 })));
    assert_eq!(start.elapsed(), Duration::from_secs(3));
}

#[tokio::test(start_paused = true)]
async fn a_returned_task_wakes_a_long_poll_after_its_delay() {
    let client = Client::new(10);
    client.enqueue(1).await;
    let held = client.lease(1, 60_000, 0).await.remove(0);
    let start = Instant::now();
    let nack = json!({ "id": held["id"], "lease": held["lease"], "delay_ms": 3000 });
    let (tasks, (status, _)) =
        tokio::join!(client.lease(1, 1000, 30_000), client.call("POST", "/nack", nack));
    assert_eq!((tasks.len(), status), (1, StatusCode::OK));
    assert_eq!(start.elapsed(), Duration::from_secs(3));
}

#[tokio::test(start_paused = true)]
async fn shutdown_ends_long_polls() {
    let stop = CancellationToken::new();
    let client = Client::stopped_by(10, stop.clone());
    let start = Instant::now();
    let (tasks, ()) = tokio::join!(client.lease(1, 1000, 30_000), async { stop.cancel() });
    assert!(tasks.is_empty());
    assert_eq!(start.elapsed(), Duration::ZERO);
}

#[tokio::test]
async fn rejects_values_out_of_range() {
    let client = Client::new(10);
    for (path, body, status) in [
        ("/lease", json!({ "max": 0, "visibility_ms": 1 }), 422),
        ("/lease", json!({ "max": 1, "visibility_ms": 0 }), 422),
        ("/lease", json!({ "max": 1, "visibility_ms": 1, "wait_ms": 30_001 }), 422),
        ("/lease", json!({ "max": -1, "visibility_ms": 1 }), 422),
        ("/nack", json!({ "id": "1", "lease": "1", "delay_ms": 600_001 }), 422),
        ("/ack", json!({ "id": "1" }), 422),
        ("/ack", json!({ "id": "never", "lease": "given" }), 404),
        ("/enqueue", json!({ "payload": 1 }), 422),
        ("/enqueue", json!("text"), 422),
    ] {
        assert_eq!(client.call("POST", path, body.clone()).await.0.as_u16(), status, "{path} {body}");
    }
}

#[tokio::test]
async fn a_wrong_method_or_path_is_a_problem() {
    let client = Client::new(10);
    for (method, path, code) in [
        ("GET", "/lease", "method_not_allowed"),
        ("POST", "/dequeue", "method_not_allowed"),
        ("GET", "/enqueue", "method_not_allowed"),
        ("GET", "/nothing", "not_found"),
    ] {
        assert_eq!(client.call(method, path, Value::Null).await.1["code"], code, "{method} {path}");
    }
}

#[tokio::test]
async fn metrics_count_the_tasks() {
    let queue = SharedQueue::open(10, usize::MAX, CancellationToken::new());
    let client = Client(request_routes(queue.clone()).merge(poll_routes(queue.clone())));
    for n in 1..=3 {
        client.enqueue(n).await;
    }
    client.lease(1, 60_000, 0).await;
    client.call("GET", "/dequeue", Value::Null).await;
    let mut registry = prometheus_client::registry::Registry::default();
    registry.register_collector(Box::new(queue));
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
    for expected in [
        "queue_tasks_waiting 1",
        "queue_tasks_leased 1",
        "queue_tasks_enqueued_total 3",
        "queue_tasks_acknowledged_total 1",
        "queue_leases_expired_total 0",
    ] {
        assert!(text.lines().any(|client| client == expected), "{expected}: {text}");
    }
}
