use std::sync::Arc;

use axum::body::Body;
use axum::http::Request;
use tower::ServiceExt as _;

use super::http;
use crate::ingest::Ingest;

/// The clock leaps to the next timer whenever everybody waits.
#[tokio::test(start_paused = true)]
async fn a_slow_sender_is_asked_to_retry_and_counted() {
    let ingest = Arc::new(Ingest::new(1 << 20, None));
    let endless = Body::from_stream(futures::stream::pending::<Result<&str, std::io::Error>>());
    let request =
        Request::post("/v1/traces").header("content-type", "application/json").body(endless).unwrap();
    let reply = http::router(Arc::clone(&ingest)).oneshot(request).await.unwrap();
    assert_eq!((reply.status().as_u16(), &reply.headers()["retry-after"]), (503, &"1".parse().unwrap()));
    assert_eq!(ingest.room.refused.get(), 1);
}
