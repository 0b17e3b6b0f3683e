//! A long answer while it is written.

use std::io;
use std::sync::Arc;

use axum::body::Body;
use axum::http::header;
use axum::response::{IntoResponse as _, Response};
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::timeout;

use super::PATIENCE;
use super::delivery::{PIECE, Pieces};

/// A longer answer is written, and read, alone: as many as the store has traces may be in it.
const LARGE: usize = 8 << 20;
static LARGE_ROOM: Semaphore = Semaphore::const_new(1);

/// The room of a large answer. Kept with the response until it is delivered.
#[derive(Debug, Clone)]
pub(super) struct Large {
    _room: Arc<SemaphorePermit<'static>>,
}

/// What there is to know of an answer that was written.
#[derive(Debug, Clone)]
pub(super) struct Written {
    pub(super) bytes: usize,
    pub(super) large: Option<Large>,
}

/// Takes what is written, and fails when it becomes large while another is. One buffer for all of it would be moved again
/// and again, and be up to three times as large.
#[derive(Debug, Default)]
pub(crate) struct Writing {
    full: Pieces,
    last: Vec<u8>,
    bytes: usize,
    large: Option<Large>,
}

impl Writing {
    pub(crate) fn into_response(self, content_type: &'static str) -> Response {
        let Self { mut full, last, bytes, large } = self;
        if !last.is_empty() {
            full.push(last.into());
        }
        let mut response = ([(header::CONTENT_TYPE, content_type)], Body::new(full)).into_response();
        response.extensions_mut().insert(Written { bytes, large });
        response
    }
}

impl io::Write for Writing {
    fn write(&mut self, piece: &[u8]) -> io::Result<usize> {
        if self.large.is_none() && self.bytes + piece.len() > LARGE {
            // On a thread for work that blocks.
            let room = Handle::current().block_on(timeout(PATIENCE, LARGE_ROOM.acquire()));
            let room = room.ok().and_then(Result::ok).ok_or(io::ErrorKind::ResourceBusy)?;
            self.large = Some(Large { _room: Arc::new(room) });
        }
        let piece = &piece[..piece.len().min(PIECE - self.last.len())];
        self.last.extend_from_slice(piece);
        self.bytes += piece.len();
        if self.last.len() == PIECE {
            self.full.push(std::mem::take(&mut self.last).into());
        }
        Ok(piece.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[tokio::test]
    async fn one_answer_at_a_time_is_large() {
        tokio::task::spawn_blocking(|| {
            let (mut first, mut second) = (Writing::default(), Writing::default());
            first.write_all(&vec![b'a'; LARGE + 1]).unwrap();
            second.write_all(&vec![b'b'; LARGE]).unwrap();
            assert_eq!(second.write_all(b"b").unwrap_err().kind(), io::ErrorKind::ResourceBusy);
            let delivered = first.into_response("text/plain");
            assert!(second.write_all(b"b").is_err(), "it is not delivered yet");
            drop(delivered);
            second.write_all(b"b").unwrap();
            let body = second.into_response("text/plain").into_body();
            let text = Handle::current().block_on(axum::body::to_bytes(body, usize::MAX)).unwrap();
            assert!(text.len() == LARGE + 1 && text.iter().all(|byte| *byte == b'b'));
        })
        .await
        .unwrap();
    }
}
