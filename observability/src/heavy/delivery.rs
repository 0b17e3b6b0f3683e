//! A long answer on its way, a piece at a time: what its reader has not asked for yet still takes room.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use axum::body::Body as AnyBody;
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::sync::SemaphorePermit;

use super::Large;

/// The server buffers some of these. An answer that is no longer than one takes no room.
pub(super) const PIECE: usize = 256 << 10;

/// An answer in pieces.
#[derive(Debug, Default)]
pub(super) struct Pieces {
    rest: VecDeque<Bytes>,
    bytes: usize,
}

/// The room that an answer takes.
#[derive(Debug)]
pub(super) enum Held {
    Unread(#[expect(dead_code, reason = "freed when dropped")] SemaphorePermit<'static>),
    Large(#[expect(dead_code, reason = "freed when dropped")] Large),
}

/// Pieces that take room.
#[derive(Debug)]
pub(super) struct Delivery {
    pieces: AnyBody,
    held: Option<Held>,
}

impl Pieces {
    pub(super) fn of(mut answer: Bytes) -> Self {
        let mut pieces = Self::default();
        while !answer.is_empty() {
            pieces.push(answer.split_to(answer.len().min(PIECE)));
        }
        pieces
    }

    pub(super) fn push(&mut self, piece: Bytes) {
        self.bytes += piece.len();
        self.rest.push_back(piece);
    }
}

impl Body for Pieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let piece = self.rest.pop_front();
        self.bytes -= piece.as_ref().map_or(0, Bytes::len);
        Poll::Ready(piece.map(|piece| Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.bytes as u64)
    }
}

impl Delivery {
    /// What is held is free again when the last piece has left.
    pub(super) fn of(pieces: AnyBody, held: Option<Held>) -> Self {
        Self { pieces, held }
    }
}

impl Body for Delivery {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let frame = ready!(Pin::new(&mut self.pieces).poll_frame(cx));
        if self.pieces.is_end_stream() {
            self.held = None;
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.pieces.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.pieces.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;
    use tokio::sync::Semaphore;

    use super::*;

    #[tokio::test]
    async fn an_answer_takes_room_until_its_last_piece_has_left() {
        static ROOM: Semaphore = Semaphore::const_new(1);
        let deliver = |answer: &Bytes| {
            let held = Some(Held::Unread(ROOM.try_acquire().unwrap()));
            Delivery::of(AnyBody::new(Pieces::of(answer.clone())), held)
        };
        let answer: Bytes = (0..PIECE * 2 + 1).map(|position| position as u8).collect();
        let mut long = deliver(&answer);
        assert_eq!(long.size_hint().exact(), Some(answer.len() as u64));
        let mut got = Vec::new();
        while !long.is_end_stream() {
            assert_eq!(ROOM.available_permits(), 0, "after {} bytes", got.len());
            let piece = long.frame().await.unwrap().unwrap().into_data().unwrap();
            assert!(piece.len() <= PIECE);
            got.extend(piece);
        }
        assert_eq!((got, ROOM.available_permits()), (answer.to_vec(), 1));
        assert!(long.frame().await.is_none());

        drop(deliver(&answer));
        assert_eq!(ROOM.available_permits(), 1, "nobody waits for it any more");
    }
}
