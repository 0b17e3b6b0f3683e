//! Accepts connections until shutdown, then waits for the requests in flight.
//!
//! `axum::serve` was considered: it bounds neither the number of connections nor the time for reading a request's head or
//! writing a response, and its graceful shutdown has no deadline.

mod head_timeout;
mod host;

use std::convert::Infallible;
use std::io;
use std::time::Duration;

use axum::Router;
use axum::extract::ConnectInfo;
use axum::http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use tokio_io_timeout::TimeoutWriter;
use tokio_util::sync::CancellationToken;
use tower::Service as _;

use super::accept::{Accepted, Acceptor};
use head_timeout::{HeadTimeout, InProgress, Phase, ResponseBody};

/// Maximum time for requests in flight to finish after the listener closed.
pub const DRAIN_DEADLINE: Duration = Duration::from_secs(8);

/// Maximum time from the previous response to the end of the next request's head. Longer than clients keep idle
/// connections: a request fails if its connection is closed just as it is sent.
const HEADER_READ_TIMEOUT: Duration = Duration::from_secs(30);

/// Maximum size of a request's head. A larger one is answered with 431.
const MAX_HEAD_BYTES: usize = 64 << 10;

/// Maximum time without progress while writing a response. Bounds how long a response to a stalled peer stays in memory.
pub(super) const WRITE_TIMEOUT: Duration = Duration::from_secs(15);

/// Serves `router` on `listener` until `shutdown` is cancelled, then returns when the last request is done, at the latest
/// after [`DRAIN_DEADLINE`]. A `TcpListener` gets the default bound on its connections.
///
/// # Errors
///
/// None at present; reserved for listeners that fail for good.
pub async fn serve(
    listener: impl Into<Acceptor>,
    router: Router,
    shutdown: CancellationToken,
) -> io::Result<()> {
    let spawn = |accepted, connections: &_| spawn_connection(accepted, router.clone(), connections);
    accept_until(shutdown, listener.into(), spawn).await;
    Ok(())
}

/// Passes each connection to `spawn` until `shutdown` is cancelled, then waits up to [`DRAIN_DEADLINE`] for their requests in
/// flight.
pub(super) async fn accept_until(
    shutdown: CancellationToken,
    listener: Acceptor,
    spawn: impl Fn(Accepted, &GracefulShutdown),
) {
    let connections = GracefulShutdown::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = shutdown.cancelled() => break,
        };
        spawn(accepted, &connections);
    }
    drop(listener);
    if tokio::time::timeout(DRAIN_DEADLINE, connections.shutdown()).await.is_err() {
        tracing::warn!("requests still in flight at the drain deadline were aborted");
    }
}

fn spawn_connection(accepted: Accepted, router: Router, connections: &GracefulShutdown) {
    let Accepted { stream, peer, permit, idle } = accepted;
    // Small responses must not wait for acknowledgements. The call fails only on a socket that is closing.
    let _ = stream.set_nodelay(true);
    let phase = Phase::default();
    let on_connection = phase.clone();
    let service = service_fn(move |mut request: Request<Incoming>| {
        let in_progress = phase.request();
        request.extensions_mut().insert(ConnectInfo(peer));
        respond(router.clone(), request, in_progress)
    });
    let mut stream = TimeoutWriter::new(stream);
    stream.set_timeout(Some(WRITE_TIMEOUT));
    let stream = HeadTimeout::new(Box::pin(stream), on_connection, idle);
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_READ_TIMEOUT)
        .max_header_size(MAX_HEAD_BYTES)
        .serve_connection(TokioIo::new(stream), service);
    let connection = connections.watch(connection);
    tokio::spawn(async move {
        let _permit = permit;
        // Peers that disconnect are common under load.
        if let Err(error) = connection.await {
            tracing::debug!(%error, "connection ended early");
        }
    });
}

async fn respond(
    mut router: Router,
    request: Request<Incoming>,
    in_progress: InProgress,
) -> Result<Response<ResponseBody>, Infallible> {
    let response = match host::refusal(&request) {
        Some(refusal) => refusal,
        None => router.call(request).await?,
    };
    Ok(response.map(|body| ResponseBody { body, _request: in_progress }))
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use axum::body::{Body, Bytes};
    use axum::routing::get;
    use futures::stream;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::{TcpListener, TcpStream};
    use tokio::sync::mpsc;
    use tokio::time::Instant;

    use super::head_timeout::HEAD_TIMEOUT;
    use super::*;

    /// Starts a server that answers every request with `ok`, and connects to it.
    async fn connected() -> TcpStream {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = Router::new().fallback(|| async { "ok" });
        tokio::spawn(serve(listener, router, CancellationToken::new()));
        TcpStream::connect(address).await.unwrap()
    }

    /// Returns what the peer still receives and after how many seconds the connection is closed.
    async fn closed_after(peer: &mut TcpStream) -> (String, u64) {
        let start = Instant::now();
        let mut received = String::new();
        let read = tokio::time::timeout(4 * HEADER_READ_TIMEOUT, peer.read_to_string(&mut received));
        read.await.expect("the server should close the connection").unwrap();
        (received, start.elapsed().as_secs())
    }

    #[tokio::test(start_paused = true)]
    async fn half_a_request_head_is_cut_off_soon_and_a_silent_connection_later() {
        let mut silent = connected().await;
        assert_eq!(closed_after(&mut silent).await.1, HEADER_READ_TIMEOUT.as_secs());
        let mut half = connected().await;
        half.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n").await.unwrap();
        assert_eq!(closed_after(&mut half).await.1, HEAD_TIMEOUT.as_secs());
    }

    #[tokio::test(start_paused = true)]
    async fn half_a_head_is_cut_off_on_a_connection_that_has_served_a_request() {
        let mut peer = connected().await;
        peer.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
        let mut reply = [0; 1024];
        assert_ne!(peer.read(&mut reply).await.unwrap(), 0);
        peer.write_all(b"GET / HTTP/1.1\r\nhost: a\r\nx: ").await.unwrap();
        assert_eq!(closed_after(&mut peer).await.1, HEAD_TIMEOUT.as_secs());
    }

    /// Sends a request for `path`, and returns what arrives first: the response, or nothing if the connection is closed.
    async fn call(peer: &mut TcpStream, path: &str) -> String {
        peer.write_all(format!("GET {path} HTTP/1.1\r\nhost: a\r\n\r\n").as_bytes()).await.unwrap();
        received(peer).await
    }

    async fn received(peer: &mut TcpStream) -> String {
        let mut reply = [0; 1024];
        let read = tokio::time::timeout(Duration::from_secs(10), peer.read(&mut reply)).await;
        let length = read.expect("a response or the end of the connection").unwrap_or(0);
        String::from_utf8_lossy(&reply[..length]).into_owned()
    }

    #[tokio::test]
    async fn only_an_idle_connection_is_closed_for_one_that_waits() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (begin, mut begun) = mpsc::channel(1);
        let (answer, answered) = tokio::sync::watch::channel(false);
        let handler = async move || {
            begin.send(()).await.unwrap();
            answered.clone().wait_for(|answered| *answered).await.map(|_| "busy").unwrap_or_default()
        };
        let router = Router::new().fallback(|| async { "ok" }).route("/busy", get(handler));
        tokio::spawn(serve(Acceptor::new(listener, 2), router, CancellationToken::new()));
        let connect = || async { TcpStream::connect(address).await.unwrap() };

        // It was idle before its second request, and for longer than the other connection.
        let mut busy = connect().await;
        assert!(call(&mut busy, "/").await.ends_with("ok"));
        let mut idle = connect().await;
        assert!(call(&mut idle, "/").await.ends_with("ok"));
        busy.write_all(b"GET /busy HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
        begun.recv().await.unwrap();
        assert!(call(&mut connect().await, "/").await.ends_with("ok"), "a waiting connection is served");
        assert_eq!(received(&mut idle).await, "", "closed");
        answer.send(true).unwrap();
        assert!(received(&mut busy).await.ends_with("busy"), "a connection in use is not cut off");
        assert!(call(&mut busy, "/").await.ends_with("ok"), "nor at the end of its request");
    }

    #[tokio::test]
    async fn a_request_without_exactly_one_host_is_a_400() {
        for head in ["GET / HTTP/1.1\r\n", "GET / HTTP/1.1\r\nhost: a\r\nhost: b\r\n"] {
            let mut peer = connected().await;
            peer.write_all(format!("{head}\r\n").as_bytes()).await.unwrap();
            let (reply, _) = closed_after(&mut peer).await;
            assert!(reply.starts_with("HTTP/1.1 400"), "{reply}");
            assert!(reply.contains("application/problem+json"), "{reply}");
        }
        let mut old = connected().await;
        old.write_all(b"GET / HTTP/1.0\r\n\r\n").await.unwrap();
        let (reply, _) = closed_after(&mut old).await;
        assert!(reply.starts_with("HTTP/1.0 200") && reply.ends_with("ok"), "{reply}");
    }

    // With a paused clock, time advances to the next timer whenever all tasks wait.
    #[tokio::test(start_paused = true)]
    async fn closes_the_connection_of_a_stalled_reader_and_drops_its_response() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (held, mut released) = mpsc::channel::<()>(1);
        let held = Arc::new(Mutex::new(Some(held)));
        let endless = async move || {
            let held = held.lock().unwrap().take();
            Body::from_stream(stream::repeat_with(move || {
                assert!(held.is_some());
                Ok::<_, io::Error>(Bytes::from_static(&[0; 65_536]))
            }))
        };
        let router = Router::new().route("/", get(endless));
        let shutdown = CancellationToken::new();
        let server = tokio::spawn(serve(listener, router, shutdown.clone()));

        let mut peer = TcpStream::connect(address).await.unwrap();
        peer.write_all(b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
        let sent = Instant::now();
        assert_eq!(tokio::time::timeout(2 * WRITE_TIMEOUT, released.recv()).await, Ok(None));
        assert_eq!(sent.elapsed().as_secs(), WRITE_TIMEOUT.as_secs());
        shutdown.cancel();
        server.await.unwrap().unwrap();
    }
}
