//! Accepts connections until shutdown, then waits for the requests in flight.
//!
//! `axum::serve` was considered: it sets no timeout for reading a request's head or writing a response, and its graceful
//! shutdown has no deadline.

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

/// Maximum time for requests in flight to finish after the listener closed.
pub const DRAIN_DEADLINE: Duration = Duration::from_secs(8);

/// Maximum time from the previous response to the end of the next request's head. Longer than clients keep idle
/// connections: a request fails if its connection is closed just as it is sent.
const HEADER_READ_TIMEOUT: Duration = Duration::from_secs(30);

/// Maximum time without progress while writing a response. Bounds how long a response to a stalled peer stays in memory.
const WRITE_TIMEOUT: Duration = Duration::from_secs(15);

/// Pause after a failed accept. Without it the loop would spin while no file descriptor is free.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Serves `router` on `listener` until `shutdown` is cancelled, then returns when the last request is done, at the latest
/// after [`DRAIN_DEADLINE`].
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
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    if tokio::time::timeout(DRAIN_DEADLINE, connections.shutdown()).await.is_err() {
        tracing::warn!("requests still in flight at the drain deadline were aborted");
    }
    Ok(())
}

fn spawn_connection(stream: TcpStream, peer: SocketAddr, router: Router, connections: &GracefulShutdown) {
    // Small responses must not wait for acknowledgements. The call fails only on a socket that is closing.
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
        // Peers that disconnect are common under load.
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
