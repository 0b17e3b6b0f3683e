use axum::body::{Body, to_bytes};
use axum::http::{Request, StatusCode};
use tower::ServiceExt as _;

use super::*;

async fn call(router: &Router, method: &str, path: &str, body: &str) -> (StatusCode, String) {
    let request = Request::builder().method(method).uri(path).body(Body::from(body.to_owned())).unwrap();
    let response = router.clone().oneshot(request).await.unwrap();
    let status = response.status();
    let body = to_bytes(response.into_body(), usize::MAX).await.unwrap();
    (status, String::from_utf8(body.to_vec()).unwrap())
}

#[tokio::test]
async fn returns_a_stored_value_and_404_for_a_miss() {
    let router = router(1 << 20);
    assert_eq!(call(&router, "GET", "/get/search%3AMath", "").await.0, StatusCode::NOT_FOUND);
    let (status, _) = call(&router, "POST", "/set/search%3AMath", r#"{"value":[{"id":1}]}"#).await;
    assert_eq!(status, StatusCode::OK);
    let (status, body) = call(&router, "GET", "/get/search%3AMath", "").await;
    assert_eq!((status, body.as_str()), (StatusCode::OK, r#"{"value":[{"id":1}]}"#));
}

#[tokio::test]
async fn a_value_with_a_time_to_live_of_zero_is_not_returned() {
    let router = router(1 << 20);
    call(&router, "POST", "/set/k", r#"{"value":1,"ttl_seconds":0}"#).await;
    assert_eq!(call(&router, "GET", "/get/k", "").await.0, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn rejects_invalid_entries() {
    let router = router(1 << 20);
    assert_eq!(call(&router, "POST", "/set/k", r#"{"value":"#).await.0, StatusCode::BAD_REQUEST);
    assert_eq!(call(&router, "POST", "/set/k", "{}").await.0, StatusCode::UNPROCESSABLE_ENTITY);
    let sized = |length| format!(r#"{{"value":"{}"}}"#, "x".repeat(length));
    assert_eq!(call(&router, "POST", "/set/k", &sized(1 << 20)).await.0, StatusCode::OK);
    assert_eq!(
        call(&router, "POST", "/set/k", &sized(MAX_VALUE_BYTES)).await.0,
        StatusCode::PAYLOAD_TOO_LARGE
    );
}

#[test]
fn jitter_only_shortens() {
    let ttl = Duration::from_secs(100);
    assert_eq!(jittered(ttl, 0.0), ttl);
    assert_eq!(jittered(ttl, 1.0), Duration::from_secs(90));
}
