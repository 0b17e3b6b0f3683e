//! The queue's routes, under tokio's paused clock: waiting costs no time, and runs out exactly when it should.

use axum::body::{Body, to_bytes};
use axum::http::{Request, StatusCode};
use tower::ServiceExt as _;

use super::*;

struct Line(Router);

impl Line {
    fn new(capacity: usize) -> Self {
        Self::stopped_by(capacity, CancellationToken::new())
    }

    fn stopped_by(capacity: usize, stop: CancellationToken) -> Self {
        let queue = Queue::open(capacity, stop);
        Self(traced(queue.clone()).merge(polled(queue)))
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
async fn the_originals_calls_work() {
    let line = Line::new(10);
    assert_eq!(line.call("GET", "/dequeue", Value::Null).await.0, StatusCode::NOT_FOUND);
    line.enqueue(1).await;
    line.enqueue(2).await;
    let (status, task) = line.call("GET", "/dequeue", Value::Null).await;
    assert_eq!((status, &task["payload"]), (StatusCode::OK, &json!({ "n": 1 })));
    assert_eq!(line.call("GET", "/dequeue", Value::Null).await.1["payload"], json!({ "n": 2 }));
    assert_eq!(line.call("GET", "/dequeue", Value::Null).await.0, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_head_request_takes_no_task() {
    let line = Line::new(10);
    line.enqueue(1).await;
    assert_eq!(line.call("HEAD", "/dequeue", Value::Null).await.0, StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(line.call("GET", "/dequeue", Value::Null).await.1["payload"], json!({ "n": 1 }));
}

#[tokio::test]
async fn a_full_queue_says_so() {
    let line = Line::new(1);
    assert_eq!(line.enqueue(1).await, StatusCode::OK);
    let (status, problem) = line.call("POST", "/enqueue", json!({ "task_type": "test", "payload": 1 })).await;
    assert_eq!((status, &problem["code"]), (StatusCode::SERVICE_UNAVAILABLE, &json!("queue_full")));
}

#[tokio::test(start_paused = true)]
async fn a_long_poll_ends_with_the_task_or_with_its_time() {
    let line = Line::new(10);
    let start = Instant::now();
    assert!(line.lease(1, 1000, 5000).await.is_empty());
    assert_eq!(start.elapsed(), Duration::from_secs(5));
    let (tasks, status) = tokio::join!(line.lease(1, 1000, 5000), line.enqueue(1));
    assert_eq!((tasks.len(), status), (1, StatusCode::OK));
    assert_eq!(start.elapsed(), Duration::from_secs(5), "it did not wait on");
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_runs_out_wakes_a_long_poll() {
    let line = Line::new(10);
    line.enqueue(1).await;
    let first = line.lease(1, 2000, 0).await;
    let start = Instant::now();
    let again = line.lease(1, 2000, 30_000).await;
    assert_eq!(start.elapsed(), Duration::from_secs(2));
    assert_eq!(again[0]["attempts"], 2);
    let settle = |task: &Value| json!({ "id": task["id"], "lease": task["lease"] });
    assert_eq!(line.call("POST", "/ack", settle(&first[0])).await.0, StatusCode::NOT_FOUND);
    assert_eq!(line.call("POST", "/ack", settle(&again[0])).await.0, StatusCode::OK);
    assert_eq!(line.call("POST", "/ack", settle(&again[0])).await.0, StatusCode::NOT_FOUND);
}

/// Those who waited already when the lease began learn of its end, too; and one task wakes one of them.
#[tokio::test(start_paused = true)]
async fn a_lease_that_runs_out_wakes_one_of_those_who_wait() {
    let line = Line::new(10);
    let start = Instant::now();
    let poll = || async {
        let tasks = line.lease(1, 2000, 5000).await;
        (start.elapsed().as_secs(), tasks.len())
    };
    let (first, second, third, fourth, _) = tokio::join!(poll(), poll(), poll(), poll(), line.enqueue(1));
    let mut polls = [first, second, third, fourth];
    polls.sort_unstable();
    assert_eq!(polls, [(0, 1), (2, 1), (4, 1), (5, 0)]);
}

#[tokio::test(start_paused = true)]
async fn tasks_that_come_back_at_once_wake_as_many_pollers() {
    let line = Line::new(10);
    for n in 1..=2 {
        line.enqueue(n).await;
    }
    assert_eq!(line.lease(2, 3000, 0).await.len(), 2);
    let start = Instant::now();
    let (first, second) = tokio::join!(line.lease(1, 60_000, 10_000), line.lease(1, 60_000, 10_000));
    assert_eq!((&first[0]["payload"], &second[0]["payload"]), (&json!({ "n": 1 }), &json!({ "n": 2 })));
    assert_eq!(start.elapsed(), Duration::from_secs(3));
}

#[tokio::test(start_paused = true)]
async fn a_task_given_back_with_a_delay_wakes_a_poll_that_waits_already() {
    let line = Line::new(10);
    line.enqueue(1).await;
    let held = line.lease(1, 60_000, 0).await.remove(0);
    let start = Instant::now();
    let nack = json!({ "id": held["id"], "lease": held["lease"], "delay_ms": 3000 });
    let (tasks, (status, _)) = tokio::join!(line.lease(1, 1000, 30_000), line.call("POST", "/nack", nack));
    assert_eq!((tasks.len(), status), (1, StatusCode::OK));
    assert_eq!(start.elapsed(), Duration::from_secs(3));
}

#[tokio::test(start_paused = true)]
async fn a_role_that_stops_lets_its_pollers_go() {
    let stop = CancellationToken::new();
    let line = Line::stopped_by(10, stop.clone());
    let start = Instant::now();
    let (tasks, ()) = tokio::join!(line.lease(1, 1000, 30_000), async { stop.cancel() });
    assert!(tasks.is_empty());
    assert_eq!(start.elapsed(), Duration::ZERO);
}

#[tokio::test]
async fn what_makes_no_sense_is_refused() {
    let line = Line::new(10);
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
        assert_eq!(line.call("POST", path, body.clone()).await.0.as_u16(), status, "{path} {body}");
    }
}

#[tokio::test]
async fn a_wrong_method_or_path_is_a_problem() {
    let line = Line::new(10);
    for (method, path, code) in [
        ("GET", "/lease", "method_not_allowed"),
        ("POST", "/dequeue", "method_not_allowed"),
        ("GET", "/enqueue", "method_not_allowed"),
        ("GET", "/nothing", "not_found"),
    ] {
        assert_eq!(line.call(method, path, Value::Null).await.1["code"], code, "{method} {path}");
    }
}

#[tokio::test]
async fn the_metrics_tell_what_happened() {
    let queue = Queue::open(10, CancellationToken::new());
    let line = Line(traced(queue.clone()).merge(polled(queue.clone())));
    for n in 1..=3 {
        line.enqueue(n).await;
    }
    line.lease(1, 60_000, 0).await;
    line.call("GET", "/dequeue", Value::Null).await;
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
        assert!(text.lines().any(|line| line == expected), "{expected}: {text}");
    }
}
