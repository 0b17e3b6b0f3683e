//! What a handler leaves unread of a request's body is read all the same, and thrown away.
//!
//! A reply that is sent while the caller still writes is lost when the connection closes with unread bytes: the caller
//! sees a reset in place of the 401 or 413 (RFC 9112, section 9.6). The reply itself goes out at once.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::http::header;
use http_body::{Body as _, Frame, SizeHint};
use http_body_util::BodyExt as _;
use tokio::runtime::Handle;

/// Beyond either, a caller that goes on writing is cut off.
const MAX_BYTES: usize = 64 << 20;
const MAX_TIME: Duration = Duration::from_secs(10);

/// The request, with a body that is read to its end whatever its handler does.
pub(crate) fn drained(request: Request) -> Request {
    // Who asks first is not writing yet: unread, the body is never sent.
    let asks_first = request.headers().contains_key(header::EXPECT);
    if request.body().is_end_stream() || asks_first {
        return request;
    }
    request.map(|body| Body::new(Drained(Some(body))))
}

/// A body whose rest is read when it is dropped.
struct Drained(Option<Body>);

impl http_body::Body for Drained {
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

impl Drop for Drained {
    fn drop(&mut self) {
        let rest = self.0.take().filter(|body| !body.is_end_stream());
        if let (Some(rest), Ok(runtime)) = (rest, Handle::try_current()) {
            runtime.spawn(tokio::time::timeout(MAX_TIME, discard(rest)));
        }
    }
}

async fn discard(mut body: Body) {
    let mut seen = 0;
    while let Some(Ok(frame)) = body.frame().await {
        seen += frame.data_ref().map_or(0, Bytes::len);
        if seen > MAX_BYTES {
            break;
        }
    }
}

#[cfg(test)]
mod tests;
