//! The worker at the real queue, over sockets. Its database is a socket that never answers, or none at all: what is
//! recorded is tested with real processes.

use axum::extract::Request;
use axum::middleware::{self, Next};
use axum::response::Response;
use serde_json::{Value, json};
use sqlx::postgres::PgPoolOptions;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use super::*;
use crate::api::BOOKING_NOTIFICATION;
use crate::peer::Peer;
use crate::queue;
use crate::service::Service;

/// The queue's role, and every call that was answered with 200: its path.
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
        let seen = calls.clone();
        let note = middleware::from_fn(move |request: Request, next: Next| {
            let seen = seen.clone();
            async move {
                let path = request.uri().path().to_owned();
                let response: Response = next.run(request).await;
                if response.status().is_success() {
                    seen.send_modify(|calls| calls.push(path));
                }
                response
            }
        });
        let url = format!("http://{}", listener.local_addr().unwrap());
        let role = queue::role(&Config::for_test(Service::Queue, &[]), CancellationToken::new());
        tokio::spawn(async move { axum::serve(listener, role.routes.layer(note)).await });
        Self { peer: Peer::new(&url, Duration::from_secs(5)).unwrap(), url, calls }
    }

    async fn enqueue(&self, task_type: &str, payload: Value) {
        let task = json!({ "task_type": task_type, "payload": payload });
        assert_eq!(self.peer.post("/enqueue", "/enqueue", &task).await.unwrap().status, 200);
    }

    /// Waits until `path` has been called so many times.
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

/// A worker whose database is at `database`.
fn worker(queue_url: &str, database: &TcpListener) -> Worker {
    let url = format!("postgres://nobody@{}/nothing", database.local_addr().unwrap());
    let pool = PgPoolOptions::new().connect_lazy(&url).unwrap();
    let settings = [("QUEUE_URL", queue_url), ("NOTIFICATION_CONCURRENCY", "2")];
    Worker::new(&Config::for_test(Service::Notification, &settings), pool).unwrap()
}

/// Takes connections and says nothing.
async fn silent_database() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").await.unwrap()
}

async fn accept(listener: &TcpListener) -> TcpStream {
    timeout(Duration::from_secs(20), listener.accept()).await.expect("somebody calls").unwrap().0
}

fn booking(booking_id: i64) -> Value {
    json!({ "booking_id": booking_id, "student_id": 1, "tutor_id": 1 })
}

#[tokio::test]
async fn a_task_that_nobody_understands_is_let_go() {
    let (queue, database) = (Queue::start().await, silent_database().await);
    let stop = CancellationToken::new();
    let work = tokio::spawn(work(Arc::new(worker(&queue.url, &database)), stop.clone()));
    queue.enqueue("newsletter", json!({})).await;
    queue.enqueue(BOOKING_NOTIFICATION, json!({ "booking_id": "one" })).await;
    queue.enqueue(BOOKING_NOTIFICATION, json!("text")).await;
    queue.called("/ack", 3).await;
    assert_eq!(queue.count("/nack"), 0);
    stop.cancel();
    work.await.unwrap();
}

#[tokio::test]
async fn a_task_that_fails_is_given_back_for_later() {
    let (queue, database) = (Queue::start().await, silent_database().await);
    let worker = worker(&queue.url, &database);
    worker.pool.close().await;
    let stop = CancellationToken::new();
    let work = tokio::spawn(work(Arc::new(worker), stop.clone()));
    let start = std::time::Instant::now();
    queue.enqueue(BOOKING_NOTIFICATION, booking(1)).await;
    queue.called("/nack", 2).await;
    assert!(start.elapsed() >= RETRY_DELAY);
    assert_eq!(queue.count("/ack"), 0);
    stop.cancel();
    work.await.unwrap();
}

#[tokio::test]
async fn a_worker_that_stops_gives_back_what_does_not_end_and_leases_no_more() {
    let (queue, database) = (Queue::start().await, silent_database().await);
    let mut worker = worker(&queue.url, &database);
    worker.grace = Duration::from_millis(50);
    for id in 1..=3 {
        queue.enqueue(BOOKING_NOTIFICATION, booking(id)).await;
    }
    let stop = CancellationToken::new();
    let work = tokio::spawn(work(Arc::new(worker), stop.clone()));
    // Both slots are taken once the database has been called twice.
    let _held = (accept(&database).await, accept(&database).await);
    stop.cancel();
    timeout(Duration::from_secs(20), work).await.expect("it ends").unwrap();
    assert_eq!((queue.count("/nack"), queue.count("/ack")), (2, 0));
    let lease = json!({ "max": 10, "visibility_ms": 1000 });
    let tasks: Value = queue.peer.poll("/lease", &lease).await.unwrap().json().unwrap();
    let attempts: Vec<_> =
        tasks["tasks"].as_array().unwrap().iter().map(|task| task["attempts"].clone()).collect();
    assert_eq!(attempts, [2, 2, 1], "at once, and the third was never leased");
}

#[tokio::test]
async fn a_queue_that_is_gone_is_asked_again() {
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
    queue.called("/ack", 1).await;
    stop.cancel();
    work.await.unwrap();
}
