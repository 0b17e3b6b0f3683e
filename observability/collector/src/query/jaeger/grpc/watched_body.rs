//! The body of a reply, dropped when its reader stalls.
//!
//! HTTP/2 does not poll the body of a stream whose reader accepts no data, so a deadline inside the body would not be noticed.
//! A timer beside the body frees its memory and its permits. The stream itself, with up to one frame, stays until its
//! connection is closed.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::BoxError;
use axum::body::Body;
use bytes::Bytes;
use http_body::Frame;
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

/// Maximum time without progress while a reply is read.
const STALL_TIMEOUT: Duration = Duration::from_secs(15);

/// Maximum size of a frame, and so of what a stalled stream holds.
const FRAME: usize = 64 << 10;

/// A body whose frames have up to [`FRAME`] bytes. Fails once its reader has stalled for [`STALL_TIMEOUT`].
#[derive(Debug)]
pub(super) struct WatchedBody {
    state: Arc<Mutex<State>>,
    #[expect(dead_code, reason = "stops the timer when dropped")]
    timer: AbortOnDropHandle<()>,
}

#[derive(Debug)]
struct State {
    /// `None` after a stall.
    body: Option<Body>,
    /// The rest of the body's last frame.
    rest: Bytes,
    /// When the reader took the last frame; `None` while it waits for the next.
    taken: Option<Instant>,
}

impl WatchedBody {
    pub(super) fn new(body: Body) -> Self {
        let state = Arc::new(Mutex::new(State { body: Some(body), rest: Bytes::new(), taken: None }));
        let watched = Arc::clone(&state);
        let timer = tokio::spawn(async move {
            let mut ticks = tokio::time::interval(STALL_TIMEOUT / 3);
            loop {
                ticks.tick().await;
                let mut state = lock(&watched);
                if state.taken.is_some_and(|taken| taken.elapsed() >= STALL_TIMEOUT) {
                    (state.body, state.rest) = (None, Bytes::new());
                    return;
                }
            }
        });
        Self { state, timer: AbortOnDropHandle::new(timer) }
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

impl State {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        self.taken = None;
        if self.rest.is_empty() {
            let Some(body) = &mut self.body else {
                return Poll::Ready(Some(Err("the reply was not read in time".into())));
            };
            match ready!(http_body::Body::poll_frame(Pin::new(body), cx)) {
                None => return Poll::Ready(None),
                Some(Err(error)) => return Poll::Ready(Some(Err(error.into()))),
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => self.rest = data,
                    Err(trailers) => return Poll::Ready(Some(Ok(trailers))),
                },
            }
        }
        self.taken = Some(Instant::now());
        Poll::Ready(Some(Ok(Frame::data(self.rest.split_to(self.rest.len().min(FRAME))))))
    }
}

impl http_body::Body for WatchedBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        lock(&self.state).poll(cx)
    }

    /// A reply without messages ends with its head, which then has the status.
    fn is_end_stream(&self) -> bool {
        let state = lock(&self.state);
        state.rest.is_empty() && state.body.as_ref().is_some_and(http_body::Body::is_end_stream)
    }
}

// With a paused clock, time advances to the next timer whenever all tasks wait.
#[cfg(test)]
mod tests {
    use futures::stream;
    use http_body_util::BodyExt as _;
    use tokio::sync::mpsc;
    use tokio::time::sleep;

    use super::*;

    /// A body of `frames` frames, and a receiver that ends when the body is dropped.
    fn body(frames: usize) -> (WatchedBody, mpsc::Receiver<()>) {
        let (held, released) = mpsc::channel(1);
        let frames = (0..frames).map(move |_| {
            assert!(!held.is_closed());
            Ok::<_, BoxError>(Bytes::from(vec![b'a'; FRAME + 1]))
        });
        (WatchedBody::new(Body::from_stream(stream::iter(frames))), released)
    }

    #[tokio::test(start_paused = true)]
    async fn a_stalled_reader_loses_the_rest() {
        let (mut body, mut released) = body(3);
        let started = Instant::now();
        assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap().len(), FRAME);
        assert_eq!(released.recv().await, None, "the body is dropped");
        assert!(started.elapsed() >= STALL_TIMEOUT && started.elapsed() < STALL_TIMEOUT * 2);
        assert!(body.frame().await.unwrap().is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_reader_gets_everything_in_small_frames() {
        let (mut body, _released) = body(3);
        let mut read = 0;
        while let Some(frame) = body.frame().await {
            let frame = frame.unwrap().into_data().unwrap();
            assert!(frame.len() <= FRAME);
            read += frame.len();
            sleep(STALL_TIMEOUT / 2).await;
        }
        assert_eq!(read, 3 * (FRAME + 1));
    }

    #[tokio::test(start_paused = true)]
    async fn a_reader_that_waits_for_data_does_not_stall() {
        let (sender, receiver) = mpsc::channel::<Bytes>(1);
        let received = stream::unfold(receiver, |mut receiver| async {
            receiver.recv().await.map(|bytes| (Ok::<_, BoxError>(bytes), receiver))
        });
        let body = WatchedBody::new(Body::from_stream(received));
        let reading = tokio::spawn(body.collect());
        sleep(STALL_TIMEOUT * 4).await;
        sender.send(Bytes::from_static(b"late")).await.unwrap();
        drop(sender);
        assert_eq!(reading.await.unwrap().unwrap().to_bytes(), "late");
    }
}
