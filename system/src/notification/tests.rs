//! The worker with the real queue, over sockets. Its database is a socket that never answers, or a closed pool; recording is
//! tested with real processes.

use axum::extract::Request;
use axum::middleware::{self, Next};
use axum::response::Response;
use serde_json::{Value, json};
use sqlx::postgres::PgPoolOptions;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use super::*;
use crate::api::BOOKING_NOTIFICATION;
use crate::app::parse;
use crate::queue;

/// The queue, and the path of every call that it answered with 200.
struct Queue {
    peer: Peer,
    url: String,
    calls: watch::Sender<Vec<String>>,
}

impl Queue {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        Self::start_on(listener).await
    }

    async fn start_on(listener: TcpListener) -> Self {
        let calls = watch::Sender::new(Vec::new());
        let answered = calls.clone();
        let record = middleware::from_fn(move |request: Request, next: Next| {
            let answered = answered.clone();
            async move {
                let path = request.uri().path().to_owned();
                let response: Response = next.run(request).await;
                if response.status().is_success() {
                    answered.send_modify(|calls| calls.push(path));
                }
                response
            }
        });
        let url = format!("http://{}", listener.local_addr().unwrap());
        let app = queue::app(&parse(&[]).unwrap(), CancellationToken::new()).await.unwrap();
        tokio::spawn(async move { axum::serve(listener, app.routes.layer(record)).await });
        Self { peer: Peer::new(&url.parse().unwrap(), Duration::from_secs(5)), url, calls }
    }

    async fn enqueue(&self, task_type: &str, payload: Value) {
        let task = json!({ "task_type": task_type, "payload": payload });
        assert_eq!(self.peer.post("/enqueue", "/enqueue", &task).await.unwrap().status, 200);
    }

    /// Waits until `path` has been called `times` times.
    async fn called(&self, path: &str, times: usize) {
        let mut calls = self.calls.subscribe();
        let enough = |calls: &Vec<String>| calls.iter().filter(|call| *call == path).count() >= times;
        let waited = timeout(Duration::from_secs(20), calls.wait_for(enough)).await;
        assert!(waited.is_ok(), "{path} was not called {times} times: {:?}", self.calls.borrow());
    }

    fn count(&self, path: &str) -> usize {
        self.calls.borrow().iter().filter(|call| *call == path).count()
    }
}

/// A worker that uses the database at `database`.
fn worker(queue_url: &str, database: &TcpListener) -> Worker {
    let url = format!("postgres://nobody@{}/nothing", database.local_addr().unwrap());
    let pool = PgPoolOptions::new().connect_lazy(&url).unwrap();
    Worker::new(&parse(&["--queue-url", queue_url, "--notification-concurrency", "2"]).unwrap(), pool)
}

/// Accepts connections and never answers.
async fn silent_database() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").await.unwrap()
}

async fn accept(listener: &TcpListener) -> TcpStream {
    timeout(Duration::from_secs(20), listener.accept()).await.expect("a connection").unwrap().0
}

fn booking(booking_id: i64) -> Value {
    json!({ "booking_id": booking_id, "student_id": 1, "tutor_id": 1 })
}

#[tokio::test]
async fn a_task_of_an_unknown_type_or_form_is_returned_and_others_do_not_wait() {
    let (queue, database) = (Queue::start().await, silent_database().await);
    let stop = CancellationToken::new();
    let work = tokio::spawn(work(Arc::new(worker(&queue.url, &database)), stop.clone()));
    queue.enqueue("newsletter", json!({})).await;
    queue.enqueue(BOOKING_NOTIFICATION, json!({ "booking_id": "one" })).await;
    queue.enqueue(BOOKING_NOTIFICATION, json!("text")).await;
    queue.called("/nack", 3).await;
    queue.enqueue(BOOKING_NOTIFICATION, booking(1)).await;
    let _called = accept(&database).await;
    assert_eq!(queue.count("/ack"), 0);
    stop.cancel();
    work.await.unwrap();
}

#[tokio::test]
async fn a_task_that_fails_is_returned() {
    let (queue, database) = (Queue::start().await, silent_database().await);
    let worker = worker(&queue.url, &database);
    worker.pool.close().await;
    let stop = CancellationToken::new();
    let work = tokio::spawn(work(Arc::new(worker), stop.clone()));
    queue.enqueue(BOOKING_NOTIFICATION, booking(1)).await;
    queue.called("/nack", 2).await;
    assert_eq!(queue.count("/ack"), 0);
    stop.cancel();
    work.await.unwrap();
}

#[tokio::test]
async fn a_task_whose_database_never_answers_is_returned_when_its_lease_ends() {
    let (queue, database) = (Queue::start().await, silent_database().await);
    let mut worker = worker(&queue.url, &database);
    worker.lease = Duration::from_millis(50);
    let stop = CancellationToken::new();
    let work = tokio::spawn(work(Arc::new(worker), stop.clone()));
    // More tasks than permits.
    for id in 1..=3 {
        queue.enqueue(BOOKING_NOTIFICATION, booking(id)).await;
    }
    queue.called("/nack", 3).await;
    stop.cancel();
    work.await.unwrap();
}

#[test]
fn a_notification_is_sent_within_its_lease() {
    let check = |delay: &str| {
        let arguments = ["--notification-lease-ms", "1000", "--notification-delay-ms", delay];
        parse::<Settings>(&arguments).unwrap().check()
    };
    assert!(check("999").is_ok());
    let error = check("1000").unwrap_err().to_string();
    assert!(error.contains("less than NOTIFICATION_LEASE_MS=1000"), "{error}");
}

#[tokio::test]
async fn shutdown_returns_unfinished_tasks_and_leases_no_more() {
    let (queue, database) = (Queue::start().await, silent_database().await);
    let mut worker = worker(&queue.url, &database);
    worker.grace = Duration::from_millis(50);
    for id in 1..=3 {
        queue.enqueue(BOOKING_NOTIFICATION, booking(id)).await;
    }
    let stop = CancellationToken::new();
    let work = tokio::spawn(work(Arc::new(worker), stop.clone()));
    // Both permits are in use once the database has been called twice.
    let _held = (accept(&database).await, accept(&database).await);
    stop.cancel();
    timeout(Duration::from_secs(20), work).await.expect("the worker should stop").unwrap();
    assert_eq!((queue.count("/nack"), queue.count("/ack")), (2, 0));
    let lease = json!({ "max": 10, "visibility_ms": 1000 });
    let tasks: Value = queue.peer.poll("/lease", &lease).await.unwrap().json().unwrap();
    let attempts: Vec<_> =
        tasks["tasks"].as_array().unwrap().iter().map(|task| task["attempts"].clone()).collect();
    assert_eq!(attempts, [2, 2, 1], "the first two are redelivered at once, the third was never leased");
}

#[tokio::test]
async fn retries_while_the_queue_is_down() {
    let database = silent_database().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let stop = CancellationToken::new();
    let worker = worker(&format!("http://{}", listener.local_addr().unwrap()), &database);
    let work = tokio::spawn(work(Arc::new(worker), stop.clone()));
    for _ in 0..3 {
        drop(accept(&listener).await);
    }
    let queue = Queue::start_on(listener).await;
    queue.enqueue("newsletter", json!({})).await;
    queue.called("/nack", 1).await;
    stop.cancel();
    work.await.unwrap();
}
