use std::time::Duration;

use axum::Router;
use axum::http::StatusCode;
use axum::middleware::map_request;
use axum::routing::post;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

use super::*;

const LIMIT: Duration = Duration::from_secs(10);

/// Bytes; more than the buffers of both sockets hold.
const LARGE: usize = 20 << 20;

#[tokio::test]
async fn a_caller_that_writes_a_large_body_before_reading_gets_the_refusal() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let router = Router::new().route("/", post(|| async { StatusCode::UNAUTHORIZED }));
    let router = router.layer(map_request(|request| async { discard(request, Instant::now() + LIMIT).0 }));
    tokio::spawn(telemetry::server::serve(listener, router, CancellationToken::new()));
    let mut stream = TcpStream::connect(address).await.unwrap();
    for _ in 0..2 {
        let head = format!("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: {LARGE}\r\n\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        stream.write_all(&vec![b'x'; LARGE]).await.unwrap();
        let mut reply = vec![0; 1024];
        let length = stream.read(&mut reply).await.unwrap();
        let reply = String::from_utf8_lossy(&reply[..length]);
        assert!(reply.starts_with("HTTP/1.1 401"), "the connection stays usable: {reply}");
    }
}
