//! The routes of the queue. Waits run under tokio's paused clock, so that their length is exact.

mod nats_server;
mod both;
mod nats;

use axum::body::{Body, to_bytes};
use axum::http::{Request, StatusCode};
use serde_json::{Value, json};
use tower::ServiceExt as _;

use axum::Router;
use tokio::time::Instant;

use super::*;

/// Limits with a short backoff: at most 100 ms after the first attempt.
const LIMITS: Limits =
    Limits { tasks: 10, bytes: 64 << 20, attempts: 3, first_backoff: Duration::from_millis(100) };

struct Client(Router);

impl Client {
    fn new() -> Self {
        Self::open(LIMITS, CancellationToken::new())
    }

    fn open(limits: Limits, stop: CancellationToken) -> Self {
        Self::of(MemoryQueue::open(limits, stop))
    }

    fn of<S: Storage>(queue: S) -> Self {
        Self(routes::requests(queue.clone()).merge(routes::polls(queue)))
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
        assert_eq!(status, StatusCode::OK, "{reply}");
        reply["tasks"].as_array().unwrap().clone()
    }

    /// Leases one task, waiting up to 5 s for it.
    async fn lease_one(&self) -> Value {
        self.lease(1, 60_000, 5000).await.pop().expect("a task")
    }

    async fn settle(&self, path: &str, task: &Value, more: Value) -> StatusCode {
        let mut request = json!({ "id": task["id"], "lease": task["lease"] });
        request.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap_or_default());
        self.call("POST", path, request).await.0
    }

    async fn dead(&self, query: &str) -> Vec<Value> {
        let (status, reply) = self.call("GET", &format!("/dead{query}"), Value::Null).await;
        assert_eq!(status, StatusCode::OK, "{reply}");
        reply["tasks"].as_array().unwrap().clone()
    }
}

/// Returns whether `elapsed` lies between `from` and `from` plus a backoff of up to `backoff_ms`.
fn within_backoff(elapsed: Duration, from: Duration, backoff_ms: u64) -> bool {
    // The paused clock counts whole milliseconds.
    (from..=from + Duration::from_millis(backoff_ms + 2)).contains(&elapsed)
}

#[tokio::test]
async fn the_calls_of_the_original_system_work() {
    let client = Client::new();
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
    let client = Client::new();
    client.enqueue(1).await;
    assert_eq!(client.call("HEAD", "/dequeue", Value::Null).await.0, StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(client.call("GET", "/dequeue", Value::Null).await.1["payload"], json!({ "n": 1 }));
}

#[tokio::test]
async fn a_full_queue_answers_503() {
    let client = Client::open(Limits { tasks: 1, ..LIMITS }, CancellationToken::new());
    assert_eq!(client.enqueue(1).await, StatusCode::OK);
    let (status, problem) =
        client.call("POST", "/enqueue", json!({ "task_type": "test", "payload": 1 })).await;
    assert_eq!((status, &problem["code"]), (StatusCode::SERVICE_UNAVAILABLE, &json!("queue_full")));
}

#[tokio::test(start_paused = true)]
async fn a_long_poll_ends_with_a_task_or_after_its_wait() {
    let client = Client::new();
    let start = Instant::now();
    assert!(client.lease(1, 1000, 5000).await.is_empty());
    assert_eq!(start.elapsed(), Duration::from_secs(5));
    let (tasks, status) = tokio::join!(client.lease(1, 1000, 5000), client.enqueue(1));
    assert_eq!((tasks.len(), status), (1, StatusCode::OK));
    assert_eq!(start.elapsed(), Duration::from_secs(5), "the poll must end with the task");
}

#[tokio::test(start_paused = true)]
async fn an_expired_lease_wakes_a_long_poll() {
    let client = Client::new();
    client.enqueue(1).await;
    let first = client.lease(1, 2000, 0).await;
    let start = Instant::now();
    let again = client.lease(1, 2000, 30_000).await;
    assert!(within_backoff(start.elapsed(), Duration::from_secs(2), 100), "{:?}", start.elapsed());
    assert_eq!(again[0]["attempts"], 2);
    assert_eq!(client.settle("/ack", &first[0], Value::Null).await, StatusCode::NOT_FOUND);
    assert_eq!(client.settle("/ack", &again[0], Value::Null).await, StatusCode::OK);
    assert_eq!(client.settle("/ack", &again[0], Value::Null).await, StatusCode::NOT_FOUND);
}

/// Long polls that started before the lease are woken by its end as well, one for each task.
#[tokio::test(start_paused = true)]
async fn an_expired_lease_wakes_one_of_several_long_polls() {
    let client = Client::new();
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
    let client = Client::new();
    for n in 1..=2 {
        client.enqueue(n).await;
    }
    assert_eq!(client.lease(2, 3000, 0).await.len(), 2);
    let start = Instant::now();
    let (first, second) = tokio::join!(client.lease(1, 60_000, 10_000), client.lease(1, 60_000, 10_000));
    let mut payloads = [&first[0]["payload"]["n"], &second[0]["payload"]["n"]].map(|n| n.as_u64().unwrap());
    payloads.sort_unstable();
    assert_eq!(payloads, [1, 2]);
    assert!(within_backoff(start.elapsed(), Duration::from_secs(3), 100), "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_returned_task_wakes_a_long_poll_after_its_delay() {
    let client = Client::new();
    client.enqueue(1).await;
    let held = client.lease(1, 60_000, 0).await.remove(0);
    let start = Instant::now();
    let (tasks, status) = tokio::join!(
        client.lease(1, 1000, 30_000),
        client.settle("/nack", &held, json!({ "delay_ms": 3000 }))
    );
    assert_eq!((tasks.len(), status), (1, StatusCode::OK));
    assert_eq!(start.elapsed(), Duration::from_secs(3));
}

#[tokio::test(start_paused = true)]
async fn a_task_returned_without_a_delay_comes_back_after_its_backoff() {
    let client = Client::new();
    client.enqueue(1).await;
    let mut task = client.lease_one().await;
    for longest in [100, 200] {
        let start = Instant::now();
        assert_eq!(client.settle("/nack", &task, Value::Null).await, StatusCode::OK);
        task = client.lease_one().await;
        let shortest = Duration::from_millis(longest / 2);
        assert!(within_backoff(start.elapsed(), shortest, longest / 2), "{:?}", start.elapsed());
    }
}

#[tokio::test(start_paused = true)]
async fn a_poison_task_becomes_a_dead_letter_until_it_is_redriven() {
    let client = Client::new();
    let otel = json!({ "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01" });
    let poison = json!({ "task_type": "test", "payload": "poison", "otel": otel, "event_id": "7" });
    let id = client.call("POST", "/enqueue", poison.clone()).await.1["task_id"].clone();
    for _ in 0..3 {
        let task = client.lease_one().await;
        assert_eq!((&task["id"], &task["event_id"]), (&id, &json!("7")));
        let reason = format!("{}é", "x".repeat(499));
        client.settle("/nack", &task, json!({ "delay_ms": 0, "reason": reason })).await;
    }
    client.enqueue(2).await;
    assert_eq!(client.lease_one().await["payload"], json!({ "n": 2 }), "nothing waits for the dead letter");

    let dead = client.dead("").await.pop().expect("a dead letter");
    let expected = json!({
        "id": id, "task_type": "test", "payload": "poison", "otel": otel, "event_id": "7", "attempts": 3,
        "reason": "x".repeat(499), "enqueued_at": dead["enqueued_at"], "died_at": dead["died_at"],
    });
    assert_eq!(dead, expected);
    assert!(client.dead(&format!("?after={}", id.as_str().unwrap())).await.is_empty());
    let (status, again) = client.call("POST", "/enqueue", poison).await;
    assert_eq!((status, &again["task_id"]), (StatusCode::OK, &id), "the dead letter holds its event");

    let redrive = |ids| client.call("POST", "/redrive", json!({ "ids": ids }));
    assert_eq!(redrive(json!(["99", "unknown"])).await.1, json!({ "redriven": 0 }));
    assert_eq!(redrive(json!([id])).await.1, json!({ "redriven": 1 }));
    let task = client.lease_one().await;
    assert_eq!((&task["id"], &task["attempts"]), (&id, &json!(1)));
    assert_eq!(client.settle("/ack", &task, Value::Null).await, StatusCode::OK);
    assert!(client.dead("").await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_redriven_task_wakes_a_long_poll() {
    let client = Client::open(Limits { attempts: 1, ..LIMITS }, CancellationToken::new());
    client.enqueue(1).await;
    let task = client.lease_one().await;
    client.settle("/nack", &task, Value::Null).await;
    let start = Instant::now();
    let (tasks, (_, reply)) =
        tokio::join!(client.lease(1, 1000, 30_000), client.call("POST", "/redrive", json!({})));
    assert_eq!((tasks.len(), reply), (1, json!({ "redriven": 1 })));
    assert_eq!(start.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn shutdown_ends_long_polls() {
    let stop = CancellationToken::new();
    let client = Client::open(LIMITS, stop.clone());
    let start = Instant::now();
    let (tasks, ()) = tokio::join!(client.lease(1, 1000, 30_000), async { stop.cancel() });
    assert!(tasks.is_empty());
    assert_eq!(start.elapsed(), Duration::ZERO);
}

#[tokio::test]
async fn rejects_values_out_of_range() {
    let client = Client::new();
    for (path, body, status) in [
        ("/lease", json!({ "max": 0, "visibility_ms": 1 }), 422),
        ("/lease", json!({ "max": 1, "visibility_ms": 0 }), 422),
        ("/lease", json!({ "max": 1, "visibility_ms": 1, "wait_ms": 30_001 }), 422),
        ("/lease", json!({ "max": -1, "visibility_ms": 1 }), 422),
        ("/nack", json!({ "id": "1", "lease": "1", "delay_ms": 600_001 }), 422),
        ("/ack", json!({ "id": "1" }), 422),
        ("/ack", json!({ "id": "never", "lease": "given" }), 404),
        ("/enqueue", json!({ "payload": 1 }), 422),
        ("/enqueue", json!({ "task_type": "test", "payload": 1, "event_id": "" }), 422),
        ("/enqueue", json!({ "task_type": "test", "payload": 1, "event_id": "x".repeat(256) }), 422),
        ("/redrive", json!({ "ids": "1" }), 422),
        ("/enqueue", json!("text"), 422),
    ] {
        assert_eq!(client.call("POST", path, body.clone()).await.0.as_u16(), status, "{path} {body}");
    }
}

#[tokio::test]
async fn a_wrong_method_or_path_is_a_problem() {
    let client = Client::new();
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
    let queue = MemoryQueue::open(LIMITS, CancellationToken::new());
    let client = Client::of(queue.clone());
    for n in 1..=3 {
        client.enqueue(n).await;
    }
    let event = json!({ "task_type": "test", "payload": 4, "event_id": "4" });
    for _ in 0..2 {
        client.call("POST", "/enqueue", event.clone()).await;
    }
    let task = client.lease(1, 60_000, 0).await.remove(0);
    client.call("GET", "/dequeue", Value::Null).await;
    assert_eq!(client.settle("/ack", &json!({ "id": task["id"], "lease": "99" }), Value::Null).await, 404);
    let mut registry = prometheus_client::registry::Registry::default();
    registry.register_collector(Box::new(QueueMetrics(queue)));
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
    for expected in [
        "queue_tasks_waiting 2",
        "queue_tasks_leased 1",
        "queue_tasks_dead 0",
        "queue_duplicates_total 1",
        "queue_attempts_total 2",
        "queue_stale_acks_total 1",
        "queue_tasks_enqueued_total 4",
        "queue_tasks_acknowledged_total 1",
        "queue_leases_expired_total 0",
    ] {
        assert!(text.lines().any(|client| client == expected), "{expected}: {text}");
    }
}
