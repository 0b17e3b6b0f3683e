//! Room for the messages that are on their way in. Each pays for its bytes as they arrive, and gives them back when it has
//! been dealt with; when there is no room, the sender is told to come again.
//!
//! So many slow senders of large messages take a bounded part of the memory, and cost each other, not the store.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use crate::otlp::MAX_MESSAGE;

/// When a sender that found no room may try again.
pub(crate) const RETRY_AFTER: Duration = Duration::from_secs(1);

/// Room for at least this many messages of the largest size: their JSON may take as much again.
const LARGEST_AT_LEAST: usize = 3;

/// Longer messages are large.
pub(super) const LIGHT: usize = 1 << 20;

/// Messages that are packed, or JSON, are read so many at a time: each thread that does it keeps some of what it worked with.
const READERS: usize = 2;

/// Large messages are unpacked, turned from JSON and taken in one at a time: that takes several times their bytes.
const PLACES: usize = 1;

/// As long may a message wait for its turn.
const PATIENCE: Duration = Duration::from_secs(3);

/// Of a store's bound, for what is not in it yet.
const SHARE: usize = 8;

/// How many bytes there are, and how many are taken.
#[derive(Debug)]
pub(crate) struct Room {
    max: usize,
    used: AtomicUsize,
    readers: Arc<Semaphore>,
    places: Arc<Semaphore>,
    pub(crate) refused: crate::ingest::Counter,
}

/// There is no room now.
#[derive(Debug, thiserror::Error)]
#[error("too much is on its way in; send this again in a second")]
pub(crate) struct NoRoom;

/// What one message has taken. Gives it back when dropped.
#[derive(Debug)]
pub(crate) struct Held {
    room: Arc<Room>,
    bytes: AtomicUsize,
}

/// A body that pays for what is read of it.
#[derive(Debug)]
pub(crate) struct Paying<B> {
    body: B,
    held: Arc<Held>,
}

impl Room {
    /// Beside a store of so many bytes.
    pub(crate) fn beside(store_max_bytes: usize) -> Self {
        Self {
            max: (store_max_bytes / SHARE).max(LARGEST_AT_LEAST * MAX_MESSAGE),
            used: AtomicUsize::new(0),
            readers: Arc::new(Semaphore::new(READERS)),
            places: Arc::new(Semaphore::new(PLACES)),
            refused: crate::ingest::Counter::default(),
        }
    }

    /// Bytes taken.
    pub(crate) fn used(&self) -> usize {
        self.used.load(Relaxed)
    }

    /// A turn to unpack a message or to read its JSON. Fails, and counts that there was none, after a while.
    pub(crate) async fn reader(&self) -> Result<OwnedSemaphorePermit, NoRoom> {
        self.turn(&self.readers).await
    }

    /// A place for a large message, to be unpacked, read or taken in. Fails like [`Self::reader`].
    pub(crate) async fn place(&self) -> Result<OwnedSemaphorePermit, NoRoom> {
        self.turn(&self.places).await
    }

    async fn turn(&self, of: &Arc<Semaphore>) -> Result<OwnedSemaphorePermit, NoRoom> {
        let turn = timeout(PATIENCE, Arc::clone(of).acquire_owned()).await;
        turn.ok().and_then(Result::ok).ok_or_else(|| {
            self.refused.inc();
            NoRoom
        })
    }

    pub(crate) fn hold(self: &Arc<Self>) -> Arc<Held> {
        Arc::new(Held { room: Arc::clone(self), bytes: AtomicUsize::new(0) })
    }
}

impl Held {
    /// Takes some more, or counts that there was no room.
    pub(crate) fn take(&self, bytes: usize) -> Result<(), NoRoom> {
        let Room { max, used, refused, .. } = &*self.room;
        let is_light = self.bytes.load(Relaxed) + bytes <= LIGHT;
        // A few senders of large messages, however slow, leave a quarter to all the others.
        let max = if is_light { *max } else { *max / 4 * 3 };
        if used.fetch_add(bytes, Relaxed) + bytes > max {
            used.fetch_sub(bytes, Relaxed);
            refused.inc();
            return Err(NoRoom);
        }
        self.bytes.fetch_add(bytes, Relaxed);
        Ok(())
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.room.used.fetch_sub(self.bytes.load(Relaxed), Relaxed);
    }
}

impl<B> Paying<B> {
    pub(crate) fn new(body: B, held: Arc<Held>) -> Self {
        Self { body, held }
    }
}

impl<B> Body for Paying<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<axum::BoxError>,
{
    type Data = Bytes;
    type Error = axum::BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let Some(frame) = ready!(Pin::new(&mut self.body).poll_frame(cx)) else { return Poll::Ready(None) };
        Poll::Ready(Some(match frame {
            Ok(frame) => {
                let bytes = frame.data_ref().map_or(0, Bytes::len);
                self.held.take(bytes).map(|()| frame).map_err(Into::into)
            }
            Err(error) => Err(error.into()),
        }))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::{BodyExt as _, Full};

    use super::*;

    fn room(max: usize) -> Arc<Room> {
        Arc::new(Room { max, ..Room::beside(0) })
    }

    #[test]
    fn large_messages_leave_a_quarter_to_small_ones() {
        let room = room(8 * LIGHT);
        let (large, small) = (room.hold(), room.hold());
        large.take(6 * LIGHT).unwrap();
        assert!(large.take(1).is_err());
        small.take(LIGHT).unwrap();
        room.hold().take(LIGHT).unwrap();
        assert!(small.take(1).is_err(), "it is no longer small");
    }

    #[tokio::test]
    async fn releases_reservations_and_reserves_nothing_when_overloaded() {
        let room = room(100);
        let body = |room: &Arc<Room>| Paying::new(Full::new(Bytes::from(vec![0; 60])), room.hold());
        let held = room.hold();
        held.take(50).unwrap();
        let refused = body(&room).collect().await.unwrap_err();
        assert!(refused.is::<NoRoom>(), "{refused}");
        assert_eq!((room.used.load(Relaxed), room.refused.get()), (50, 1));
        drop(held);
        let taken = body(&room).collect().await.unwrap().to_bytes();
        assert_eq!((taken.len(), room.used.load(Relaxed)), (60, 0));
    }
}
