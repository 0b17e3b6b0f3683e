//! The system while its database ends sessions or holds a lock.

use std::time::{Duration, Instant};

use reqwest::{Method, StatusCode};
use serde_json::Value;
use sqlx::PgPool;

use crate::harness::{Api, Stack};

/// Searches for a subject that is not cached: `n` makes it a new one.
async fn search(api: &Api, n: usize) -> (StatusCode, Value) {
    let reply = api.request(Method::GET, &format!("/search?subject=Subject{n}")).send().await.unwrap();
    (reply.status(), reply.json().await.unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn terminated_backends_fail_no_read() {
    let stack = Stack::start_small();
    let api = Api::log_in(&stack).await;
    let database = PgPool::connect(&stack.addresses.database_url).await.unwrap();
    for round in 0..3 {
        // Several connections of the search service are open, and have just been used.
        let searches = (0..8).map(|n| search(&api, 100 * round + n));
        for (status, reply) in futures::future::join_all(searches).await {
            assert_eq!(status, StatusCode::OK, "{reply}");
        }
        let others = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
            WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'";
        let terminated: i64 = sqlx::query_scalar(others).fetch_one(&database).await.unwrap();
        assert!(terminated >= 3, "{terminated} backends");
        for n in 10..30 {
            let (status, reply) = search(&api, 100 * round + n).await;
            assert_eq!(status, StatusCode::OK, "search {n} of round {round}: {reply}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_locked_table_is_answered_with_503_before_the_request_times_out() {
    let stack = Stack::start_small();
    let api = Api::log_in(&stack).await;
    let database = PgPool::connect(&stack.addresses.database_url).await.unwrap();
    let mut lock = database.begin().await.unwrap();
    sqlx::query("LOCK TABLE tutors IN ACCESS EXCLUSIVE MODE").execute(&mut *lock).await.unwrap();
    // More requests than the service has connections: the others wait for a connection.
    let started = Instant::now();
    let replies = futures::future::join_all((0..20).map(|n| search(&api, n))).await;
    assert!(started.elapsed() < Duration::from_secs(10), "the default of REQUEST_TIMEOUT_MS");
    for (status, reply) in replies {
        assert_eq!((status, &reply["code"]), (StatusCode::SERVICE_UNAVAILABLE, &Value::from("unavailable")));
    }
    lock.rollback().await.unwrap();
    let (status, reply) = search(&api, 0).await;
    assert_eq!(status, StatusCode::OK, "{reply}");
}
