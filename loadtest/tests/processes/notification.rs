//! Notifications: each booking is recorded and notified once, however often its task is delivered.

use std::time::Duration;

use serde_json::{Value, json};
use sqlx::PgPool;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use crate::harness::{Api, Stack, eventually, eventually_without, http};

const BOOKING: &str = r#"{"student_id":1,"tutor_id":1}"#;

/// Enqueues a task as the booking service does.
async fn enqueue(stack: &Stack, task_type: &str, payload: Value) {
    let task = json!({ "task_type": task_type, "payload": payload });
    let request = http().post(format!("{}/enqueue", stack.addresses.queue)).json(&task);
    assert_eq!(request.send().await.unwrap().status(), 200);
}

/// Books through the public API and returns the booking's id.
async fn book(stack: &Stack) -> i64 {
    let api = Api::log_in(stack).await;
    let booked: Value = api.book(BOOKING).send().await.unwrap().json().await.unwrap();
    booked["booking_id"].as_i64().expect("a booking")
}

/// A `POST /book` for the booking service, as bytes.
fn raw_booking(address: &str) -> String {
    let length = BOOKING.len();
    format!("POST /book HTTP/1.1\r\nhost: {address}\r\ncontent-length: {length}\r\n\r\n{BOOKING}")
}

#[tokio::test(flavor = "multi_thread")]
async fn redelivered_task_is_recorded_once() {
    let stack = Stack::start_small();
    let database = PgPool::connect(&stack.addresses.database_url).await.unwrap();
    let logged = |message: &str| stack.log_lines_with("notification_service", message).len();

    let booking_id = book(&stack).await;
    eventually("the notification was sent", || logged("notification sent") == 1);

    let payload = |booking_id| json!({ "booking_id": booking_id, "student_id": 1, "tutor_id": 1 });
    for _ in 0..2 {
        enqueue(&stack, "booking_notification", payload(booking_id)).await;
    }
    eventually("both duplicates were recognised", || logged("notification already sent") == 2);

    queue_is_drained(&stack, 3).await;
    let effects: Vec<i64> =
        sqlx::query_scalar("SELECT booking_id FROM notification_effects").fetch_all(&database).await.unwrap();
    assert_eq!(effects, [booking_id]);
}

#[tokio::test(flavor = "multi_thread")]
async fn notifies_bookings_of_clients_that_disconnect() {
    let stack = Stack::start_small();
    let database = PgPool::connect(&stack.addresses.database_url).await.unwrap();
    let address = stack.addresses.booking.trim_start_matches("http://");
    let request = raw_booking(address);
    for n in 0..200 {
        let mut client = TcpStream::connect(address).await.unwrap();
        client.write_all(request.as_bytes()).await.unwrap();
        // Disconnects at different points between the insert and the reply.
        tokio::time::sleep(Duration::from_micros(n * 20)).await;
    }
    book(&stack).await;
    let without_notification =
        "SELECT count(*) FROM bookings WHERE id NOT IN (SELECT booking_id FROM notifications)";
    eventually_without(|| async {
        let left: i64 = sqlx::query_scalar(without_notification).fetch_one(&database).await.unwrap();
        (left > 0).then(|| format!("{left} bookings have no notification"))
    })
    .await;
}

/// Waits until the queue is empty and has `acknowledged` tasks behind it.
async fn queue_is_drained(stack: &Stack, acknowledged: u32) {
    let expected = [
        "queue_tasks_waiting 0".to_owned(),
        "queue_tasks_leased 0".to_owned(),
        format!("queue_tasks_acknowledged_total {acknowledged}"),
    ];
    eventually_without(|| async {
        let reply = http().get(format!("{}/metrics", stack.addresses.queue)).send().await.unwrap();
        let metrics = reply.text().await.unwrap();
        let done = expected.iter().all(|expected| metrics.lines().any(|line| line == expected));
        (!done).then(|| format!("tasks are left: {metrics}"))
    })
    .await;
}
