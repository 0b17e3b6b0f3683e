//! The layers over real sockets.

use axum::body::Bytes;
use axum::routing::post;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

use super::*;

const LIMIT: Duration = Duration::from_millis(400);

/// Routes that read their body, refuse it unread, and wait longer than the limit.
fn routes() -> Router {
    Router::new()
        .route("/read", post(|body: Bytes| async move { body.len().to_string() }))
        .route("/refuse", post(|| async { Problem::from(Code::MissingCredentials) }))
        .route("/wait", post(|_: Bytes| tokio::time::sleep(3 * LIMIT)))
}

/// Sends a body of one byte each 50 ms to `path` and returns the reply, once the connection is closed.
async fn drip(layers: Router, path: &str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    tokio::spawn(server::serve(listener, layers, CancellationToken::new()));
    let (mut read, mut write) = stream.into_split();
    let head = format!("POST {path} HTTP/1.1\r\nhost: a\r\ncontent-length: 1000\r\n\r\n");
    write.write_all(head.as_bytes()).await.unwrap();
    let dripping = tokio::spawn(async move {
        while write.write_all(b"x").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    });
    let mut reply = Vec::new();
    let ended = tokio::time::timeout(10 * LIMIT, read.read_to_end(&mut reply)).await;
    dripping.abort();
    // The connection may end with a reset, after the reply.
    let _ = ended.expect("the connection should be closed");
    String::from_utf8(reply).unwrap()
}

#[tokio::test]
async fn a_body_that_arrives_slowly_is_a_408_and_the_end_of_its_connection() {
    for layers in [requests(routes(), LIMIT), polls(routes(), LIMIT, 100 * LIMIT)] {
        let reply = drip(layers, "/read").await;
        assert!(reply.starts_with("HTTP/1.1 408 "), "{reply}");
        assert!(reply.contains("connection: close\r\n"), "{reply}");
        assert!(reply.contains(r#""code":"request_timeout""#), "{reply}");
    }
}

#[tokio::test]
async fn a_body_that_is_refused_unread_ends_with_the_same_limit() {
    let reply = drip(requests(routes(), LIMIT), "/refuse").await;
    assert!(reply.starts_with("HTTP/1.1 401 "), "{reply}");
}

#[tokio::test]
async fn a_handler_that_is_too_slow_is_a_504_unless_it_may_wait() {
    let call = async |layers: Router| {
        let request = Request::post("/wait").body(axum::body::Body::from("body")).unwrap();
        tower::ServiceExt::oneshot(layers, request).await.unwrap().status()
    };
    assert_eq!(call(requests(routes(), LIMIT)).await, 504);
    assert_eq!(call(polls(routes(), LIMIT, 10 * LIMIT)).await, 200);
}
