//! Notifications over real processes: however often a booking's task arrives, it is recorded and sent once.

use std::process::Stdio;
use std::time::Duration;

use crate::harness::{Stack, comes_right, eventually, send_signal, workbench};
use nix::sys::signal::Signal;
use reqwest::Client;
use serde_json::{Value, json};
use sqlx::PgPool;
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, TcpStream};

/// Puts a task of a booking in line, as the booking service does.
async fn enqueue(client: &Client, stack: &Stack, task_type: &str, payload: Value) {
    let task = json!({ "task_type": task_type, "payload": payload });
    let reply = client.post(format!("{}/enqueue", stack.addresses.queue)).json(&task).send().await.unwrap();
    assert_eq!(reply.status(), 200);
}

async fn book(client: &Client, stack: &Stack) -> i64 {
    let api = &stack.addresses.balancer;
    let form = [("username", "student1"), ("password", "password")];
    let token: Value =
        client.post(format!("{api}/token")).form(&form).send().await.unwrap().json().await.unwrap();
    let booking = json!({ "student_id": 1, "tutor_id": 1 });
    let request = client.post(format!("{api}/book")).bearer_auth(token["access_token"].as_str().unwrap());
    let booked: Value = request.json(&booking).send().await.unwrap().json().await.unwrap();
    booked["booking_id"].as_i64().expect("a booking")
}

/// How often the notification service has logged `message`.
fn logged(stack: &Stack, message: &str) -> usize {
    let log = stack.log("notification_service");
    let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    lines.filter(|line| line["message"] == message).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_that_arrives_again_is_recorded_once() {
    let stack = Stack::start_with(|command| {
        command.args(["--tutors", "2", "--students", "2"]);
    });
    let client = Client::new();
    let database = PgPool::connect(&stack.addresses.database_url).await.unwrap();

    let booking_id = book(&client, &stack).await;
    let recorded = || logged(&stack, "notification sent");
    eventually("the notification was sent", || recorded() == 1);

    let payload = |booking_id| json!({ "booking_id": booking_id, "student_id": 1, "tutor_id": 1 });
    for _ in 0..2 {
        enqueue(&client, &stack, "booking_notification", payload(booking_id)).await;
    }
    eventually("both were found sent", || logged(&stack, "notification sent before") == 2);

    // A booking that was taken back, and tasks that make no sense, do not come again either.
    enqueue(&client, &stack, "booking_notification", payload(i64::MAX)).await;
    eventually("it was taken back", || logged(&stack, "the booking was taken back") == 1);
    assert_eq!(recorded(), 1, "nobody is told of a booking that is no more");
    enqueue(&client, &stack, "newsletter", json!({})).await;
    eventually("it was let go", || logged(&stack, "a task that nobody understands is let go") == 1);

    nothing_is_left(&client, &stack).await;
    let rows: Vec<(i64, i32)> = sqlx::query_as("SELECT booking_id, deliveries FROM notifications")
        .fetch_all(&database)
        .await
        .unwrap();
    assert_eq!(rows, [(booking_id, 1)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_booking_whose_caller_went_away_is_notified_all_the_same() {
    let stack = Stack::start_with(|command| {
        command.args(["--tutors", "2", "--students", "2"]);
    });
    let database = PgPool::connect(&stack.addresses.database_url).await.unwrap();
    let address = stack.addresses.booking.trim_start_matches("http://");
    let body = r#"{"student_id":1,"tutor_id":1}"#;
    let head = format!("POST /book HTTP/1.1\r\nhost: {address}\r\ncontent-length: {}\r\n\r\n", body.len());
    for n in 0..200 {
        let mut caller = TcpStream::connect(address).await.unwrap();
        caller.write_all(format!("{head}{body}").as_bytes()).await.unwrap();
        // Anywhere between the insert and the reply.
        tokio::time::sleep(Duration::from_micros(n * 20)).await;
    }
    book(&Client::new(), &stack).await;
    let orphans = "SELECT count(*) FROM bookings WHERE id NOT IN (SELECT booking_id FROM notifications)";
    comes_right(async || {
        let left: i64 = sqlx::query_scalar(orphans).fetch_one(&database).await.unwrap();
        (left > 0).then(|| format!("{left} bookings are never notified"))
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_booking_service_that_stops_takes_back_what_it_cannot_queue() {
    let stack = Stack::start_with(|command| {
        command.args(["--tutors", "2", "--students", "2"]);
    });
    let database = PgPool::connect(&stack.addresses.database_url).await.unwrap();
    // A queue that accepts connections and never answers.
    let queue = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = free.local_addr().unwrap();
    drop(free);
    let mut role = workbench()
        .args(["serve", "booking"])
        .env("LISTEN", address.to_string())
        .env("DATABASE_URL", &stack.addresses.database_url)
        .env("QUEUE_URL", format!("http://{}", queue.local_addr().unwrap()))
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", "")
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let body = r#"{"student_id":1,"tutor_id":1}"#;
    let head = format!("POST /book HTTP/1.1\r\nhost: {address}\r\ncontent-length: {}\r\n\r\n", body.len());
    let bookings = async || -> i64 {
        sqlx::query_scalar("SELECT count(*) FROM bookings").fetch_one(&database).await.unwrap()
    };
    eventually("the role listens", || std::net::TcpStream::connect(address).is_ok());
    let mut caller = TcpStream::connect(address).await.unwrap();
    caller.write_all(format!("{head}{body}").as_bytes()).await.unwrap();
    let (_connection, _) = queue.accept().await.unwrap();
    assert_eq!(bookings().await, 1, "it is written before its task is queued");
    drop(caller);
    send_signal(role.id().try_into().unwrap(), Signal::SIGTERM);
    assert!(role.wait().unwrap().success());
    assert_eq!(bookings().await, 0, "nobody was told of it, and nobody will be");
}

/// The queue is done with all of its five tasks.
async fn nothing_is_left(client: &Client, stack: &Stack) {
    let expected = ["queue_tasks_waiting 0", "queue_tasks_leased 0", "queue_tasks_acknowledged_total 5"];
    comes_right(async || {
        let url = format!("{}/metrics", stack.addresses.queue);
        let metrics = client.get(url).send().await.unwrap().text().await.unwrap();
        let done = expected.iter().all(|expected| metrics.lines().any(|line| line == *expected));
        (!done).then(|| format!("tasks are left: {metrics}"))
    })
    .await;
}
