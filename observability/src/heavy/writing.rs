//! A long answer while it is written.

use std::io;
use std::sync::Arc;

use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::timeout;

use super::PATIENCE;

/// A longer answer is written, and read, alone: as many as the store has traces may be in it.
const LARGE: usize = 8 << 20;
static LARGE_ROOM: Semaphore = Semaphore::const_new(1);

/// The room of a large answer. Kept with the response until it is delivered.
#[derive(Debug, Clone)]
pub(super) struct Large {
    _room: Arc<SemaphorePermit<'static>>,
}

/// Takes what is written, and fails when it becomes large while another is.
#[derive(Debug, Default)]
pub(crate) struct Writing {
    bytes: Vec<u8>,
    large: Option<Large>,
}

impl Writing {
    pub(crate) fn into_response(self, content_type: &'static str) -> Response {
        let mut response =
            (StatusCode::OK, [(header::CONTENT_TYPE, content_type)], self.bytes).into_response();
        if let Some(large) = self.large {
            response.extensions_mut().insert(large);
        }
        response
    }
}

impl io::Write for Writing {
    fn write(&mut self, piece: &[u8]) -> io::Result<usize> {
        if self.large.is_none() && self.bytes.len() + piece.len() > LARGE {
            // On a thread for work that blocks.
            let room = Handle::current().block_on(timeout(PATIENCE, LARGE_ROOM.acquire()));
            let room = room.ok().and_then(Result::ok).ok_or(io::ErrorKind::ResourceBusy)?;
            self.large = Some(Large { _room: Arc::new(room) });
        }
        self.bytes.extend_from_slice(piece);
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
        })
        .await
        .unwrap();
    }
}
