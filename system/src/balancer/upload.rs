//! A request's body on its way to a gateway, and to the next one if the first refuses.

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{self, Poll};

use axum::body::{Body, Bytes};
use http_body::{Body as _, Frame, SizeHint};

/// A request's body as all attempts to send it share it.
pub(super) struct Upload {
    pub(super) unseen: Mutex<Option<Body>>,
    /// The caller's connection failed in the middle of it.
    pub(super) broke_off: AtomicBool,
}

/// A request body that is taken at its first poll: until then it can still go to another gateway.
pub(super) struct Replayable {
    shared: Arc<Upload>,
    taken: Option<Body>,
    size: SizeHint,
}

impl Replayable {
    pub(super) fn new(shared: &Arc<Upload>) -> Self {
        let size = shared.unseen.lock().unwrap_or_else(PoisonError::into_inner).as_ref().map(Body::size_hint);
        Self { shared: Arc::clone(shared), taken: None, size: size.unwrap_or_default() }
    }
}

impl http_body::Body for Replayable {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut task::Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        if self.taken.is_none() {
            let body = self.shared.unseen.lock().unwrap_or_else(PoisonError::into_inner).take();
            self.taken = body;
        }
        match &mut self.taken {
            Some(body) => {
                let polled = Pin::new(body).poll_frame(cx);
                if matches!(polled, Poll::Ready(Some(Err(_)))) {
                    self.shared.broke_off.store(true, Relaxed);
                }
                polled
            }
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.size.exact() == Some(0)
    }

    fn size_hint(&self) -> SizeHint {
        self.taken.as_ref().map_or_else(|| self.size, Body::size_hint)
    }
}
