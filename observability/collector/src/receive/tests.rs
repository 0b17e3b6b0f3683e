use std::sync::Arc;

use axum::body::Body;
use axum::http::Request;
use tower::ServiceExt as _;

use super::{MemoryBudget, http};
use crate::ingest::Ingest;

/// The paused clock advances to the next timer while all tasks wait.
#[tokio::test(start_paused = true)]
async fn a_slow_sender_gets_a_retry_delay_and_is_counted() {
    let ingest = Arc::new(Ingest::new(1 << 20, None));
    let budget = Arc::new(MemoryBudget::for_store(0));
    let endless = Body::from_stream(futures::stream::pending::<Result<&str, std::io::Error>>());
    let request =
        Request::post("/v1/traces").header("content-type", "application/json").body(endless).unwrap();
    let reply = http::router(ingest, Arc::clone(&budget)).oneshot(request).await.unwrap();
    assert_eq!((reply.status().as_u16(), &reply.headers()["retry-after"]), (503, &"1".parse().unwrap()));
    assert_eq!(budget.refused(), 1);
}
