use axum::body::{Body, to_bytes};
use axum::http::Request;
use serde_json::{Value, json};
use tower::ServiceExt as _;

use super::*;

fn in_memory() -> Router {
    router(Arc::new(MemoryStorage::new(1 << 20)))
}

async fn call(router: &Router, method: &str, path: &str, body: &str) -> (StatusCode, String) {
    let request = Request::builder().method(method).uri(path).body(Body::from(body.to_owned())).unwrap();
    let response = router.clone().oneshot(request).await.unwrap();
    let status = response.status();
    let body = to_bytes(response.into_body(), usize::MAX).await.unwrap();
    (status, String::from_utf8(body.to_vec()).unwrap())
}

#[tokio::test]
async fn returns_a_stored_value_and_404_for_a_miss() {
    let router = in_memory();
    assert_eq!(call(&router, "GET", "/get/search%3AMath", "").await.0, StatusCode::NOT_FOUND);
    let (status, body) = call(&router, "POST", "/set/search%3AMath", r#"{"value":[{"id":1}]}"#).await;
    assert_eq!((status, body.as_str()), (StatusCode::OK, r#"{"status":"ok"}"#));
    let (status, body) = call(&router, "GET", "/get/search%3AMath", "").await;
    assert_eq!((status, body.as_str()), (StatusCode::OK, r#"{"value":[{"id":1}]}"#));
}

#[tokio::test]
async fn a_value_with_a_time_to_live_of_zero_is_not_returned() {
    let router = in_memory();
    call(&router, "POST", "/set/k", r#"{"value":1,"ttl_seconds":0}"#).await;
    assert_eq!(call(&router, "GET", "/get/k", "").await.0, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn rejects_invalid_entries() {
    let router = in_memory();
    assert_eq!(call(&router, "POST", "/set/k", r#"{"value":"#).await.0, StatusCode::BAD_REQUEST);
    assert_eq!(call(&router, "POST", "/set/k", "{}").await.0, StatusCode::UNPROCESSABLE_ENTITY);
    let sized = |length| format!(r#"{{"value":"{}"}}"#, "x".repeat(length));
    assert_eq!(call(&router, "POST", "/set/k", &sized(1 << 20)).await.0, StatusCode::OK);
    assert_eq!(
        call(&router, "POST", "/set/k", &sized(MAX_VALUE_BYTES)).await.0,
        StatusCode::PAYLOAD_TOO_LARGE
    );
}

#[tokio::test]
async fn a_miss_with_a_lease_says_who_computes_the_value() {
    let router = in_memory();
    let (status, body) = call(&router, "GET", "/get/k?lease_ms=60000", "").await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    let winner: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(winner["code"], "not_found");
    let (status, body) = call(&router, "GET", "/get/k?lease_ms=60000&wait_ms=20", "").await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    let other: Value = serde_json::from_str(&body).unwrap();
    assert!(other["lease"].is_null() && other["retry_ms"].as_u64() > Some(50_000), "{other}");

    let entry = json!({ "value": [1], "lease": winner["lease"] }).to_string();
    for reply in [r#"{"status":"ok"}"#, r#"{"status":"lease_ended"}"#] {
        assert_eq!(call(&router, "POST", "/set/k", &entry).await, (StatusCode::OK, reply.into()));
    }
    let hit = (StatusCode::OK, r#"{"value":[1]}"#.to_owned());
    assert_eq!(call(&router, "GET", "/get/k?lease_ms=60000", "").await, hit);
}

#[tokio::test]
async fn a_caller_waits_for_the_value_of_the_lease() {
    let router = in_memory();
    let (_, body) = call(&router, "GET", "/get/k?lease_ms=60000", "").await;
    let winner: Value = serde_json::from_str(&body).unwrap();
    let mut waiting = Box::pin(call(&router, "GET", "/get/k?lease_ms=60000&wait_ms=2000", ""));
    assert!(waiting.as_mut().now_or_never().is_none());
    let entry = json!({ "value": 7, "lease": winner["lease"] }).to_string();
    call(&router, "POST", "/set/k", &entry).await;
    assert_eq!(waiting.await, (StatusCode::OK, r#"{"value":7}"#.into()));
}

#[tokio::test]
async fn several_keys_are_read_in_one_call_and_deleted_in_another() {
    let router = in_memory();
    call(&router, "POST", "/set/a", r#"{"value":{"b":1}}"#).await;
    call(&router, "GET", "/get/held?lease_ms=60000", "").await;
    let read = r#"{"keys":["a","held","new"],"lease_ms":60000,"wait_ms":2000}"#;
    let (status, body) = call(&router, "POST", "/get", read).await;
    assert_eq!(status, StatusCode::OK);
    let found: CacheLookups<Value> = serde_json::from_str(&body).unwrap();
    let [a, held, new] = &found.entries[..] else { panic!("{body}") };
    assert_eq!(a.value, Some(json!({ "b": 1 })));
    assert!(held.retry_ms.is_some() && held.lease.is_none(), "a new lease ends the wait: {body}");
    assert!(new.lease.is_some(), "{body}");

    let mut keys: Vec<String> = (0..10_000).map(|number| format!("unknown {number}")).collect();
    keys.extend(["a".to_owned(), "held".to_owned()]);
    let deleted = call(&router, "POST", "/delete", &json!({ "keys": keys }).to_string()).await;
    assert_eq!(deleted, (StatusCode::OK, r#"{"status":"ok"}"#.into()));
    let (_, body) = call(&router, "POST", "/get", read).await;
    let found: CacheLookups<Value> = serde_json::from_str(&body).unwrap();
    let leases: Vec<bool> = found.entries.iter().map(|entry| entry.lease.is_some()).collect();
    assert_eq!(leases, [true, true, false], "{body}");
}

#[tokio::test]
async fn a_storage_that_is_down_is_a_miss_but_no_delete() {
    let router = router(Arc::new(RedisStorage::new("redis://127.0.0.1:1", Duration::from_secs(1)).unwrap()));
    assert_eq!(call(&router, "GET", "/get/k", "").await.0, StatusCode::NOT_FOUND);
    let (status, body) = call(&router, "GET", "/get/k?lease_ms=1000", "").await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    let miss: CacheLookup = serde_json::from_str(&body).unwrap();
    assert!(miss.lease.is_none() && miss.retry_ms.is_none(), "{body}");
    let set = call(&router, "POST", "/set/k", r#"{"value":1}"#).await;
    assert_eq!(set, (StatusCode::OK, r#"{"status":"unavailable"}"#.into()));
    let many = call(&router, "POST", "/get", r#"{"keys":["a","b"],"lease_ms":1000}"#).await;
    assert_eq!(many, (StatusCode::OK, r#"{"entries":[{},{}]}"#.into()));
    let deleted = call(&router, "POST", "/delete", r#"{"keys":["k"]}"#).await;
    assert_eq!(deleted.0, StatusCode::SERVICE_UNAVAILABLE);
}

#[tokio::test]
async fn an_invalid_backend_is_refused_without_showing_it() {
    for backend in ["http://:hunter2@host:1", "hunter2", ""] {
        let settings: Settings = app::parse(&["--cache-backend", backend]).unwrap();
        let refused = super::app(&settings, CancellationToken::new()).await;
        let error = refused.err().map(|error| (error.is_usage(), error.to_string()));
        let message = "CACHE_BACKEND is invalid: must be `memory` or a URL such as redis://HOST:PORT";
        assert_eq!(error, Some((true, message.to_owned())), "{backend}");
    }
}

#[test]
fn jitter_only_shortens() {
    let ttl = Duration::from_secs(100);
    assert_eq!(jittered(ttl, 0.0), ttl);
    assert_eq!(jittered(ttl, 1.0), Duration::from_secs(90));
}
