//! An answer on its way, a piece at a time: what its reader has not asked for yet still takes room.

use std::collections::VecDeque;
use std::time::Duration;

use axum::body::{Body, Bytes};
use futures::future::{self, BoxFuture};
use futures::stream;
use tokio::sync::{SemaphorePermit, mpsc};
use tokio::time::Instant;

use super::Unanswered;

/// The server buffers some of these. An answer that is no longer than one takes no room.
pub(super) const PIECE: usize = 256 << 10;

/// As long may a reader take.
const LONGEST: Duration = Duration::from_secs(300);

/// What is left of an answer.
pub(super) struct Delivery {
    pub(super) pieces: VecDeque<Bytes>,
    /// What is written meanwhile.
    pub(super) more: mpsc::Receiver<Bytes>,
    /// Whether that was all. If not, the body breaks off: what is cut short must not look whole.
    pub(super) end: BoxFuture<'static, Result<(), Unanswered>>,
    /// When it breaks off, however slowly its reader reads: others wait for the room that it takes.
    pub(super) until: Instant,
    /// Free again when nothing is left.
    #[expect(dead_code, reason = "freed when dropped")]
    pub(super) held: Option<SemaphorePermit<'static>>,
}

impl Delivery {
    /// Of an answer that is all there.
    pub(super) fn of(pieces: VecDeque<Bytes>, held: Option<SemaphorePermit<'static>>) -> Self {
        let (_, nothing) = mpsc::channel(1);
        Self { pieces, more: nothing, end: Box::pin(future::ok(())), until: Self::deadline(), held }
    }

    pub(super) fn deadline() -> Instant {
        Instant::now() + LONGEST
    }

    pub(super) fn into_body(self) -> Body {
        Body::from_stream(stream::try_unfold(self, async |mut left| match left.next().await {
            _ if Instant::now() > left.until => Err(Unanswered::BrokeOff),
            Some(piece) => Ok(Some((piece, left))),
            None => left.end.await.map(|()| None),
        }))
    }

    async fn next(&mut self) -> Option<Bytes> {
        match self.pieces.pop_front() {
            Some(piece) => Some(piece),
            None => self.more.recv().await,
        }
    }
}
