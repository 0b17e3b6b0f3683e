use axum::body::Body;
use axum::http::Request;
use tower::ServiceExt as _;

use super::*;

/// The paused clock advances to the next timer while all tasks wait.
#[tokio::test(start_paused = true)]
async fn a_query_whose_body_does_not_arrive_is_ended() {
    let ingest = Arc::new(Ingest::new(1 << 20, None));
    let receiver = Arc::new(Receiver::new(Arc::clone(&ingest), 0));
    let query = query(&ingest, &receiver, None, &Settings::default(), &CancellationToken::new());
    let endless = Body::from_stream(futures::stream::pending::<Result<&str, io::Error>>());
    let request = Request::post("/api/workbench/ledger").header("content-type", "application/json");
    let reply = query.oneshot(request.body(endless).unwrap()).await.unwrap();
    assert_eq!(reply.status(), StatusCode::REQUEST_TIMEOUT);
}
