//! A long answer on its way, a piece at a time: what its reader has not asked for yet still takes room.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::sync::SemaphorePermit;

use super::Large;

/// The server buffers some of these. An answer that is no longer than one takes no room.
pub(super) const PIECE: usize = 256 << 10;

/// The room that an answer takes.
#[derive(Debug)]
pub(super) enum Held {
    Unread(#[expect(dead_code, reason = "freed when dropped")] SemaphorePermit<'static>),
    Large(#[expect(dead_code, reason = "freed when dropped")] Large),
}

#[derive(Debug)]
pub(super) struct Delivery {
    rest: Bytes,
    held: Option<Held>,
}

impl Delivery {
    /// What is held is free again when the last piece has left.
    pub(super) fn of(answer: Bytes, held: Option<Held>) -> Self {
        Self { rest: answer, held }
    }
}

impl Body for Delivery {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let piece = self.rest.len().min(PIECE);
        let piece = self.rest.split_to(piece);
        if self.rest.is_empty() {
            self.held = None;
        }
        Poll::Ready((!piece.is_empty()).then(|| Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.rest.len() as u64)
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
        let room = || Some(Held::Unread(ROOM.try_acquire().unwrap()));
        let answer: Bytes = (0..PIECE * 2 + 1).map(|position| position as u8).collect();
        let mut long = Delivery::of(answer.clone(), room());
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

        drop(Delivery::of(answer, room()));
        assert_eq!(ROOM.available_permits(), 1, "nobody waits for it any more");
    }
}
