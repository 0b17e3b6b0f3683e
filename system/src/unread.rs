//! The part of a request body that has not arrived or that the handler leaves unread.
//!
//! If a connection closes while the caller still writes, the caller sees a reset instead of the response, such as a 401 or
//! 413 (RFC 9112, section 9.6). The rest of the body is therefore read and discarded. The response itself is not delayed.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::task::{Context, Poll};

use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::http::header;
use http_body::{Body as _, Frame, SizeHint};
use http_body_util::BodyExt as _;
use tokio::runtime::Handle;
use tokio::time::Instant;

/// Maximum number of bytes that are read and discarded; after them the connection is closed.
const MAX_BYTES: usize = 64 << 20;

/// Whether a request waits for its body.
#[derive(Debug)]
pub(crate) struct Reception(Option<Arc<AtomicBool>>);

impl Reception {
    /// Returns whether the handler waits for the caller to send more of the body.
    pub(crate) fn is_awaited(&self) -> bool {
        self.0.as_ref().is_some_and(|awaited| awaited.load(Relaxed))
    }
}

/// Returns the request with a body that is read to its end even if the handler drops it, but not after `give_up`, when the
/// connection is closed.
pub(crate) fn discard(request: Request, give_up: Instant) -> (Request, Reception) {
    if request.body().is_end_stream() {
        return (request, Reception(None));
    }
    // With `Expect: 100-continue` the caller sends the body only when it is first read.
    let arrives = !request.headers().contains_key(header::EXPECT);
    let awaited = Arc::default();
    let reception = Reception(Some(Arc::clone(&awaited)));
    let body = |body| Body::new(DiscardOnDrop { body: Some(body), arrives, awaited, give_up });
    (request.map(body), reception)
}

/// A body whose remainder is read in a task of its own when it is dropped.
struct DiscardOnDrop {
    body: Option<Body>,
    /// Whether the caller sends the body.
    arrives: bool,
    awaited: Arc<AtomicBool>,
    give_up: Instant,
}

impl http_body::Body for DiscardOnDrop {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        self.arrives = true;
        let Some(body) = &mut self.body else { return Poll::Ready(None) };
        let polled = Pin::new(body).poll_frame(cx);
        if matches!(polled, Poll::Ready(None | Some(Err(_)))) {
            self.body = None;
        }
        self.awaited.store(polled.is_pending(), Relaxed);
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}

impl Drop for DiscardOnDrop {
    fn drop(&mut self) {
        self.awaited.store(false, Relaxed);
        let rest = self.body.take().filter(|body| self.arrives && !body.is_end_stream());
        let in_time = Instant::now() < self.give_up;
        if let (Some(rest), true, Ok(runtime)) = (rest, in_time, Handle::try_current()) {
            runtime.spawn(tokio::time::timeout_at(self.give_up, read_to_end(rest)));
        }
    }
}

async fn read_to_end(mut body: Body) {
    let mut read = 0;
    while let Some(Ok(frame)) = body.frame().await {
        read += frame.data_ref().map_or(0, Bytes::len);
        if read > MAX_BYTES {
            break;
        }
    }
}

#[cfg(test)]
mod tests;
