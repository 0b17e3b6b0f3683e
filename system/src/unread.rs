//! Reads and discards the part of a request body that its handler leaves unread.
//!
//! If a connection closes while the caller still writes, the caller sees a reset instead of the response, such as a 401 or
//! 413 (RFC 9112, section 9.6). The response itself is not delayed.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::http::header;
use http_body::{Body as _, Frame, SizeHint};
use http_body_util::BodyExt as _;
use tokio::runtime::Handle;

/// Limits of what is read and discarded; the connection is closed when either is exceeded.
const MAX_BYTES: usize = 64 << 20;
const MAX_TIME: Duration = Duration::from_secs(10);

/// Returns the request with a body that is read to its end even if the handler drops it.
pub(crate) fn discard(request: Request) -> Request {
    // With `Expect: 100-continue` the caller sends the body only when it is first read.
    let waits = request.headers().contains_key(header::EXPECT);
    if request.body().is_end_stream() || waits {
        return request;
    }
    request.map(|body| Body::new(DiscardOnDrop(Some(body))))
}

/// A body whose remainder is read in a task of its own when it is dropped.
struct DiscardOnDrop(Option<Body>);

impl http_body::Body for DiscardOnDrop {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let Some(body) = &mut self.0 else { return Poll::Ready(None) };
        let polled = Pin::new(body).poll_frame(cx);
        if matches!(polled, Poll::Ready(None | Some(Err(_)))) {
            self.0 = None;
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.0.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.0.as_ref().map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}

impl Drop for DiscardOnDrop {
    fn drop(&mut self) {
        let rest = self.0.take().filter(|body| !body.is_end_stream());
        if let (Some(rest), Ok(runtime)) = (rest, Handle::try_current()) {
            runtime.spawn(tokio::time::timeout(MAX_TIME, read_to_end(rest)));
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
