//! Ends a connection on which a request head has begun and does not end, or which is idle while another one waits.
//!
//! hyper's own timeout starts at the previous response. It must exceed the time for which clients keep idle connections, which
//! is too long for a head that has begun: half a head holds a connection for as long.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering::Relaxed};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use hyper::body::{Frame, SizeHint};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::Notify;
use tokio::sync::futures::OwnedNotified;
use tokio::time::{Instant, Sleep, sleep};

/// Maximum time from the first to the last byte of a request head.
pub(super) const HEAD_TIMEOUT: Duration = Duration::from_secs(4);

/// No byte of the next head has arrived.
const IDLE: u8 = 0;
/// A head has begun.
const HEAD: u8 = 1;
/// A request is in progress.
const REQUEST: u8 = 2;

/// The state of a connection, shared by its stream and its requests.
#[derive(Debug, Clone, Default)]
pub(super) struct Phase(Arc<AtomicU8>);

impl Phase {
    /// Marks the end of a head. Returns the guard of the request, to be dropped at the end of its response.
    pub(super) fn request(&self) -> InProgress {
        self.0.store(REQUEST, Relaxed);
        InProgress(self.clone())
    }
}

/// Marks the end of a request when dropped.
#[derive(Debug)]
pub(super) struct InProgress(Phase);

impl Drop for InProgress {
    fn drop(&mut self) {
        self.0.0.store(IDLE, Relaxed);
    }
}

/// The body of a response, with the guard of its request.
pub(super) struct ResponseBody {
    pub(super) body: Body,
    pub(super) _request: InProgress,
}

impl HttpBody for ResponseBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A stream whose reads fail when a head takes longer than [`HEAD_TIMEOUT`], or when the connection is evicted.
pub(super) struct HeadTimeout<S> {
    stream: S,
    phase: Phase,
    deadline: Pin<Box<Sleep>>,
    idle: Arc<Notify>,
    evicted: Pin<Box<OwnedNotified>>,
}

impl<S> HeadTimeout<S> {
    /// `idle` notifies one idle connection at a time that it has to close.
    pub(super) fn new(stream: S, phase: Phase, idle: Arc<Notify>) -> Self {
        let (deadline, evicted) =
            (Box::pin(sleep(HEAD_TIMEOUT)), Box::pin(Arc::clone(&idle).notified_owned()));
        Self { stream, phase, deadline, idle, evicted }
    }

    /// Starts the deadline of a head, and leaves the list of idle connections: a notification that arrives during the request
    /// would otherwise close the connection after it.
    fn begin_head(&mut self) {
        self.deadline.as_mut().reset(Instant::now() + HEAD_TIMEOUT);
        // Consumes a notification that has just arrived: the acceptor sends further ones as long as a connection waits, but
        // one that is passed on after that would close an idle connection without need.
        self.evicted.as_mut().enable();
        self.evicted.set(Arc::clone(&self.idle).notified_owned());
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for HeadTimeout<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        match Pin::new(&mut self.stream).poll_read(cx, buf) {
            Poll::Pending => match self.phase.0.load(Relaxed) {
                HEAD => {
                    ready!(self.deadline.as_mut().poll(cx));
                    Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
                }
                IDLE => {
                    ready!(self.evicted.as_mut().poll(cx));
                    Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()))
                }
                _ => Poll::Pending,
            },
            polled => {
                let begins = || self.phase.0.compare_exchange(IDLE, HEAD, Relaxed, Relaxed).is_ok();
                if buf.filled().len() > before && begins() {
                    self.begin_head();
                }
                polled
            }
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for HeadTimeout<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
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
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
