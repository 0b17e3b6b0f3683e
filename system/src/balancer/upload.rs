//! The body of a request that is sent to a gateway, or to the next one if the first refuses the connection.

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{self, Poll};

use axum::body::{Body, Bytes};
use http_body::{Body as _, Frame, SizeHint};

/// A request body, shared by all attempts to send it.
pub(super) struct Upload {
    /// The body, until an attempt starts to send it.
    pub(super) unsent: Mutex<Option<Body>>,
    /// Whether the caller's connection failed in the middle of the body.
    pub(super) incomplete: AtomicBool,
}

/// The body of one attempt. Takes the shared body at its first poll; until then another attempt can send it.
pub(super) struct Replayable {
    shared: Arc<Upload>,
    taken: Option<Body>,
    size: SizeHint,
}

impl Replayable {
    pub(super) fn new(shared: &Arc<Upload>) -> Self {
        let size = shared.unsent.lock().unwrap_or_else(PoisonError::into_inner).as_ref().map(Body::size_hint);
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
            let body = self.shared.unsent.lock().unwrap_or_else(PoisonError::into_inner).take();
            self.taken = body;
        }
        match &mut self.taken {
            Some(body) => {
                let polled = Pin::new(body).poll_frame(cx);
                if matches!(polled, Poll::Ready(Some(Err(_)))) {
                    self.shared.incomplete.store(true, Relaxed);
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
