//! Serves HTTP/2 without TLS to clients that know the protocol beforehand, as gRPC does.
//!
//! tonic's own server was considered: it waits for the first bytes of a connection without a deadline, and has no bound on
//! connections.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::Router;
use axum::extract::ConnectInfo;
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};
use tokio_io_timeout::TimeoutWriter;
use tokio_util::sync::CancellationToken;
use tower::Service as _;

use super::accept::{Accepted, Acceptor};
use super::listener::{WRITE_TIMEOUT, accept_until};
use crate::metrics::{self, ConnectionProblem};
use crate::throttle::Throttle;

/// Maximum time from accepting a connection to the end of its preface.
const PREFACE_TIMEOUT: Duration = Duration::from_secs(10);

/// Length of the text that a client sends first (RFC 9113, section 3.4).
const PREFACE: usize = 24;

/// Time without bytes after which a peer must answer a ping within hyper's 20 s.
const PING_INTERVAL: Duration = Duration::from_secs(30);

/// Connections of this process that were closed because their peers sent nothing.
static SILENT: Throttle = Throttle::new();

/// Serves `router` over HTTP/2, with up to `max_streams` requests in flight on each connection, until `shutdown` is cancelled.
/// Then returns when the last request is done, at the latest after [`super::DRAIN_DEADLINE`].
pub async fn serve_http2(
    listener: impl Into<Acceptor>,
    router: Router,
    max_streams: u32,
    shutdown: CancellationToken,
) {
    let spawn =
        |accepted, connections: &_| spawn_connection(accepted, router.clone(), max_streams, connections);
    accept_until(shutdown, listener.into(), spawn).await;
}

fn spawn_connection(accepted: Accepted, router: Router, max_streams: u32, connections: &GracefulShutdown) {
    let Accepted { stream, peer, permit, .. } = accepted;
    // Small responses must not wait for acknowledgements. The call fails only on a socket that is closing.
    let _ = stream.set_nodelay(true);
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(ConnectInfo(peer));
        router.clone().call(request)
    });
    let mut stream = TimeoutWriter::new(stream);
    stream.set_timeout(Some(WRITE_TIMEOUT));
    let connection = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .keep_alive_interval(PING_INTERVAL)
        .max_concurrent_streams(max_streams)
        .serve_connection(TokioIo::new(PrefaceTimeout::new(Box::pin(stream))), service);
    let connection = connections.watch(connection);
    tokio::spawn(async move {
        let _permit = permit;
        // Peers that disconnect are common under load.
        if let Err(error) = connection.await {
            tracing::debug!(%error, "connection ended early");
        }
    });
}

/// A stream whose reads fail when the preface takes longer than [`PREFACE_TIMEOUT`].
struct PrefaceTimeout<S> {
    stream: S,
    /// The number of bytes still missing and the deadline; `None` once they have arrived.
    missing: Option<(usize, Pin<Box<Sleep>>)>,
}

impl<S> PrefaceTimeout<S> {
    fn new(stream: S) -> Self {
        Self { stream, missing: Some((PREFACE, Box::pin(sleep(PREFACE_TIMEOUT)))) }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for PrefaceTimeout<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buffer);
        let Some((missing, deadline)) = &mut self.missing else { return read };
        if read.is_pending() {
            ready!(deadline.as_mut().poll(cx));
            metrics::count_connection_problem(ConnectionProblem::Silent);
            if let Some(count) = SILENT.admit() {
                let seconds = PREFACE_TIMEOUT.as_secs();
                tracing::warn!(count, "connections were closed: no HTTP/2 preface within {seconds} s");
            }
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        *missing = missing.saturating_sub(buffer.filled().len() - before);
        if *missing == 0 {
            self.missing = None;
        }
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for PrefaceTimeout<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, buffers)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use axum::routing::get;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::{TcpListener, TcpStream};
    use tokio::time::Instant;

    use super::*;

    // With a paused clock, time advances to the next timer whenever all tasks wait.
    #[tokio::test(start_paused = true)]
    async fn closes_connections_without_a_preface_or_an_answer_to_a_ping() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, shutdown) = (listener.local_addr().unwrap(), CancellationToken::new());
        let router = Router::new().route("/", get(|| async { "ok" }));
        tokio::spawn(serve_http2(listener, router, 8, shutdown.clone()));
        let whole = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
        for (sent, seconds) in [(&b""[..], 10), (b"PRI * HT", 10), (whole, 50)] {
            let mut peer = TcpStream::connect(address).await.unwrap();
            peer.write_all(sent).await.unwrap();
            let opened = Instant::now();
            // Frames or nothing, then the end or a reset of the connection.
            let _ = peer.read_to_end(&mut Vec::new()).await;
            assert_eq!(opened.elapsed().as_secs(), seconds, "{sent:?}");
        }
        let counted = r#"connection_problems_total{reason="silent"} 2"#;
        assert!(metrics::render().contains(counted), "{}", metrics::render());
        shutdown.cancel();
    }
}
