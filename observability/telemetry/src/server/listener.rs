//! Accepts connections until told to stop, then lets those in flight finish.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::extract::ConnectInfo;
use axum::http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::{TcpListener, TcpStream};
use tokio_io_timeout::TimeoutWriter;
use tokio_util::sync::CancellationToken;
use tower::Service as _;

/// How long requests in flight may take to finish after the listener closed.
pub const DRAIN_DEADLINE: Duration = Duration::from_secs(8);

/// A peer that has not sent its next request's head by then is let go. That counts from the previous reply, so it must
/// be longer than any client keeps an idle connection: one that is closed just as it is used again fails a request.
const HEADER_READ_TIMEOUT: Duration = Duration::from_secs(30);

/// A peer that reads nothing of its reply for so long is let go: what it was to get is kept in memory until it has it.
const WRITE_TIMEOUT: Duration = Duration::from_secs(15);

/// When the process is out of file descriptors, accepting again at once would spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Serves `router` on `listener` until `shutdown` fires; returns when the last request is done or [`DRAIN_DEADLINE`] passed.
pub async fn serve(listener: TcpListener, router: Router, shutdown: CancellationToken) -> io::Result<()> {
    let connections = GracefulShutdown::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = shutdown.cancelled() => break,
        };
        match accepted {
            Ok((stream, peer)) => spawn_connection(stream, peer, router.clone(), &connections),
            Err(error) => {
                tracing::warn!(%error, "a connection was not accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    if tokio::time::timeout(DRAIN_DEADLINE, connections.shutdown()).await.is_err() {
        tracing::warn!("requests still in flight were cut off");
    }
    Ok(())
}

fn spawn_connection(stream: TcpStream, peer: SocketAddr, router: Router, connections: &GracefulShutdown) {
    // Small replies must not wait for the peer's acknowledgement; a socket that refuses is closing anyway.
    let _ = stream.set_nodelay(true);
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(ConnectInfo(peer));
        router.clone().call(request)
    });
    let mut stream = TimeoutWriter::new(stream);
    stream.set_timeout(Some(WRITE_TIMEOUT));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_READ_TIMEOUT)
        .serve_connection(TokioIo::new(Box::pin(stream)), service);
    let connection = connections.watch(connection);
    tokio::spawn(async move {
        // A peer that breaks off is its own affair, and common under load.
        if let Err(error) = connection.await {
            tracing::debug!(%error, "connection ended early");
        }
    });
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use axum::body::{Body, Bytes};
    use axum::routing::get;
    use futures::stream;
    use tokio::io::AsyncWriteExt as _;
    use tokio::sync::mpsc;
    use tokio::time::Instant;

    use super::*;

    /// The clock leaps to the next timer whenever everybody waits.
    #[tokio::test(start_paused = true)]
    async fn who_does_not_read_on_is_let_go_and_what_was_kept_for_it_too() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (kept, mut let_go) = mpsc::channel::<()>(1);
        let kept = Arc::new(Mutex::new(Some(kept)));
        let endless = async move || {
            let kept = kept.lock().unwrap().take();
            Body::from_stream(stream::repeat_with(move || {
                assert!(kept.is_some());
                Ok::<_, io::Error>(Bytes::from_static(&[0; 65_536]))
            }))
        };
        let router = Router::new().route("/", get(endless));
        let shutdown = CancellationToken::new();
        let server = tokio::spawn(serve(listener, router, shutdown.clone()));

        let mut peer = TcpStream::connect(address).await.unwrap();
        peer.write_all(b"GET / HTTP/1.1\r\nhost: here\r\n\r\n").await.unwrap();
        let asked = Instant::now();
        assert_eq!(tokio::time::timeout(2 * WRITE_TIMEOUT, let_go.recv()).await, Ok(None));
        assert_eq!(asked.elapsed().as_secs(), WRITE_TIMEOUT.as_secs());
        shutdown.cancel();
        server.await.unwrap().unwrap();
    }
}
