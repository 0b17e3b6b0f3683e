//! The body of a response, sent in chunks; it holds its permit until the client has read the last chunk.

use std::collections::VecDeque;
use std::time::Duration;

use axum::body::{Body, Bytes};
use futures::future::{self, BoxFuture};
use futures::stream::{self, Stream};
use tokio::sync::{SemaphorePermit, mpsc};
use tokio::time::Instant;

use super::QueryError;

/// Size of a chunk. The server buffers a few of them; a response of at most one chunk needs no permit.
pub(super) const CHUNK_BYTES: usize = 256 << 10;

/// Maximum time for a client to read a response.
const MAX_DURATION: Duration = Duration::from_secs(300);

/// The unsent rest of a response.
pub(crate) struct ResponseBody {
    chunks: VecDeque<Bytes>,
    /// Chunks that are written after `chunks`.
    rest: mpsc::Receiver<Bytes>,
    /// Whether all chunks were written. On an error the body ends without its terminating chunk, so that the client does
    /// not take a truncated response for a complete one.
    completion: BoxFuture<'static, Result<(), QueryError>>,
    /// When the body is cut off, so that a slow client does not hold its permit forever.
    deadline: Instant,
    #[expect(dead_code, reason = "released when dropped")]
    permit: Option<SemaphorePermit<'static>>,
}

impl ResponseBody {
    /// Sends a complete response.
    pub(super) fn buffered(chunks: VecDeque<Bytes>, permit: Option<SemaphorePermit<'static>>) -> Self {
        let (_, empty) = mpsc::channel(1);
        Self::streamed(chunks, empty, Box::pin(future::ok(())), permit)
    }

    /// Sends `chunks`, then those of `rest`.
    pub(super) fn streamed(
        chunks: VecDeque<Bytes>,
        rest: mpsc::Receiver<Bytes>,
        completion: BoxFuture<'static, Result<(), QueryError>>,
        permit: Option<SemaphorePermit<'static>>,
    ) -> Self {
        Self { chunks, rest, completion, deadline: Instant::now() + MAX_DURATION, permit }
    }

    pub(super) fn into_body(self) -> Body {
        Body::from_stream(self.into_chunks())
    }

    /// Returns the chunks as they were written.
    pub(crate) fn into_chunks(self) -> impl Stream<Item = Result<Bytes, QueryError>> + Send {
        stream::try_unfold(self, async |mut body| match body.next().await {
            _ if Instant::now() > body.deadline => Err(QueryError::Failed),
            Some(chunk) => Ok(Some((chunk, body))),
            None => body.completion.await.map(|()| None),
        })
    }

    async fn next(&mut self) -> Option<Bytes> {
        match self.chunks.pop_front() {
            Some(chunk) => Some(chunk),
            None => self.rest.recv().await,
        }
    }
}
