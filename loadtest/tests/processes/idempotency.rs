//! `Idempotency-Key`: a key books once, through either gateway, however its first reply was lost.

use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};
use sqlx::PgPool;

use crate::bad_input::refused;
use crate::harness::{Answer, Api, BookingsLock, Stack, answer, count_bookings, eventually_without, http};
use crate::slots::second_booking_service;

/// A client that chooses the gateway.
struct Client {
    gateways: Vec<String>,
    token: String,
}

impl Client {
    async fn log_in(stack: &Stack) -> Self {
        let token = Api::log_in(stack).await.token().to_owned();
        Self { gateways: stack.addresses.gateways.clone(), token }
    }

    /// `POST /book` for student 1, with a key.
    fn book(&self, gateway: usize, key: impl AsRef<[u8]>, body: &Value) -> RequestBuilder {
        let request = http().post(format!("{}/book", self.gateways[gateway]));
        request.bearer_auth(&self.token).header("idempotency-key", key.as_ref()).json(body)
    }
}

async fn start() -> (Stack, Client, PgPool) {
    let stack = Stack::start_small();
    let client = Client::log_in(&stack).await;
    let database = PgPool::connect(&stack.addresses.database_url).await.unwrap();
    (stack, client, database)
}

fn body() -> Value {
    json!({ "student_id": 1, "tutor_id": 1 })
}

#[track_caller]
fn assert_repeated(reply: &Answer, first: &Answer) {
    assert_eq!((reply.status, &reply.text), (200, &first.text));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_books_once_and_gets_the_same_reply() {
    let (stack, client, database) = start().await;
    let first = answer(client.book(0, "one", &body())).await;
    assert_eq!(first.status, 200, "{}", first.text);
    for (gateway, key) in [(1, "one"), (0, "\"one\""), (1, " one ")] {
        assert_repeated(&answer(client.book(gateway, key, &body())).await, &first);
    }
    let as_text = json!({ "student_id": "1", "tutor_id": "1", "comment": "again" });
    assert_repeated(&answer(client.book(1, "one", &as_text)).await, &first);
    for other in [
        json!({ "student_id": 1, "tutor_id": 2 }),
        json!({ "student_id": 1, "tutor_id": 1, "starts_at": first.json["starts_at"] }),
    ] {
        refused("another body", client.book(1, "one", &other), 422, "key_reused").await;
    }
    assert_eq!(count_bookings(&database).await, 1);

    // A key never books anew, also when its booking has been cancelled.
    let cancel = format!("{}/bookings/{}", client.gateways[0], first.json["booking_id"]);
    let cancelled = answer(http().request(Method::DELETE, cancel).bearer_auth(&client.token)).await;
    assert_eq!(cancelled.status, 200, "{}", cancelled.text);
    assert_repeated(&answer(client.book(1, "one", &body())).await, &first);
    assert_eq!(count_bookings(&database).await, 1);

    // The same key of another student, and another key.
    let of_another = http().post(format!("{}/book", stack.addresses.booking));
    let of_another =
        of_another.header("idempotency-key", "one").json(&json!({ "student_id": 2, "tutor_id": 1 }));
    assert_eq!(answer(of_another).await.status, 200);
    assert_eq!(answer(client.book(0, "two", &body())).await.status, 200);
    assert_eq!(count_bookings(&database).await, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_a_confirmed_booking_is_stored_and_for_a_day() {
    let (stack, client, database) = start().await;
    let bad = json!({ "student_id": 1, "tutor_id": 1, "starts_at": "2020-01-01T00:00:00Z" });
    refused("a slot in the past", client.book(0, "key", &bad), 422, "invalid_slot").await;
    let unknown = json!({ "student_id": 1, "tutor_id": 424242 });
    refused("an unknown tutor", client.book(0, "key", &unknown), 404, "tutor_not_found").await;
    let first = answer(client.book(0, "key", &body())).await;
    assert_eq!(first.status, 200, "{}", first.text);
    let age = async |age: &str| {
        let age_keys = "UPDATE idempotency_keys SET created_at = clock_timestamp() - $1::text::interval";
        sqlx::query(age_keys).bind(age).execute(&database).await.unwrap();
    };
    age("23 hours 59 minutes").await;
    assert_repeated(&answer(client.book(1, "key", &body())).await, &first);
    age("24 hours").await;
    let other = json!({ "student_id": 1, "tutor_id": 2 });
    let anew = answer(client.book(1, "key", &other)).await;
    assert_eq!(anew.status, 200, "an expired key may be used for another request: {}", anew.text);
    assert_repeated(&answer(client.book(0, "key", &other)).await, &anew);

    // A booking service deletes what has expired.
    assert_eq!(answer(client.book(0, "young", &body())).await.status, 200);
    let age_one = "UPDATE idempotency_keys SET created_at = now() - INTERVAL '25 hours' WHERE key = 'key'";
    sqlx::query(age_one).execute(&database).await.unwrap();
    let _second = second_booking_service(&stack, |_| {});
    eventually_without(|| async {
        let keys = sqlx::query_scalar("SELECT key FROM idempotency_keys").fetch_all(&database).await;
        let keys: Vec<String> = keys.unwrap();
        (keys != ["young"]).then(|| format!("keys are left: {keys:?}"))
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_in_flight_is_refused_at_once() {
    let (_stack, client, database) = start().await;
    let lock = BookingsLock::acquire(&database).await;
    let first = tokio::spawn(answer(client.book(0, "key", &body())));
    lock.is_awaited().await;
    for gateway in [0, 1] {
        let second = answer(client.book(gateway, "\"key\"", &body())).await;
        assert_eq!(second.refusal(), (409, "key_in_flight"));
        assert_eq!(second.headers["retry-after"], "1");
    }
    assert!(!first.is_finished(), "refused while the first request was running");
    lock.release().await;
    let first = first.await.unwrap();
    assert_eq!(first.status, 200, "{}", first.text);
    assert_repeated(&answer(client.book(1, "key", &body())).await, &first);
    assert_eq!(count_bookings(&database).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retry_through_the_other_gateway_gets_the_reply_that_was_lost() {
    let (_stack, client, database) = start().await;
    let lock = BookingsLock::acquire(&database).await;
    let first = tokio::spawn(answer(client.book(0, "key", &body())));
    lock.is_awaited().await;
    // Closes the connection to the gateway.
    first.abort();
    assert!(first.await.unwrap_err().is_cancelled());
    lock.release().await;
    eventually_without(|| async {
        (count_bookings(&database).await == 0).then(|| "the booking was not committed".to_owned())
    })
    .await;
    let retried = answer(client.book(1, "key", &body())).await;
    assert_eq!((retried.status, &retried.json["booking_id"]), (200, &json!(1)), "{}", retried.text);
    assert_eq!(count_bookings(&database).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn invalid_keys_are_refused_and_nothing_is_written() {
    let (_stack, client, database) = start().await;
    for key in ["", "\"\"", "\"open", "\"a\"; b=1", "\u{e9}", &"x".repeat(256), &"x".repeat(10_000)] {
        let what = format!("key of {} bytes", key.len());
        refused(&what, client.book(0, key, &body()), 400, "invalid_key").await;
    }
    let two = client.book(0, "one", &body()).header("idempotency-key", "two");
    refused("two keys", two, 400, "invalid_key").await;
    assert_eq!(count_bookings(&database).await, 0);
    let longest = answer(client.book(0, "x".repeat(255), &body())).await;
    assert_eq!(longest.status, 200, "{}", longest.text);
}
