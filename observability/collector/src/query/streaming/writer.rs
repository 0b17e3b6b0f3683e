//! Collects what a query writes, and streams it once it exceeds the buffer.

use std::collections::VecDeque;
use std::{io, mem};

use axum::body::Bytes;
use serde::Serialize;
use tokio::sync::{mpsc, oneshot};

use super::QueryError;
use super::body::CHUNK_BYTES;

/// Largest response that is buffered completely, in bytes.
pub(super) const MAX_BUFFERED: usize = 8 << 20;

/// Chunks of a streamed response that are written ahead of the client.
const CHUNKS_AHEAD: usize = 2;

/// Buffers chunks up to 8 MiB in total; beyond that, blocks until the client has read more. For use on blocking threads.
#[derive(Debug)]
pub(crate) struct ChunkWriter {
    buffered: VecDeque<Bytes>,
    /// Total size of `buffered`.
    bytes: usize,
    /// Receives the buffered chunks when the buffer overflows; `None` afterwards.
    overflow: Option<oneshot::Sender<VecDeque<Bytes>>>,
    rest: mpsc::Sender<Bytes>,
}

impl ChunkWriter {
    /// Returns a writer, the receiver of its buffer if that overflows, and the receiver of the chunks after that.
    pub(super) fn new() -> (Self, oneshot::Receiver<VecDeque<Bytes>>, mpsc::Receiver<Bytes>) {
        let (overflow, overflow_receiver) = oneshot::channel();
        let (rest, rest_receiver) = mpsc::channel(CHUNKS_AHEAD);
        let writer = Self { buffered: VecDeque::new(), bytes: 0, overflow: Some(overflow), rest };
        (writer, overflow_receiver, rest_receiver)
    }

    /// Appends a chunk. Fails if the client has closed its connection.
    pub(crate) fn push(&mut self, chunk: Bytes) -> io::Result<()> {
        if self.overflow.is_some() && self.bytes + chunk.len() <= MAX_BUFFERED {
            self.bytes += chunk.len();
            self.buffered.push_back(chunk);
            return Ok(());
        }
        if let Some(overflow) = self.overflow.take() {
            // If the receiver is gone, sending the next chunk fails as well.
            let _ = overflow.send(mem::take(&mut self.buffered));
        }
        self.rest.blocking_send(chunk).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }

    /// Returns the buffered chunks; empty if the response was streamed.
    pub(super) fn finish(self) -> VecDeque<Bytes> {
        self.buffered
    }
}

/// Writes bytes as chunks of equal size to a [`ChunkWriter`].
#[derive(Debug)]
pub(crate) struct ResponseWriter {
    chunks: ChunkWriter,
    last: Vec<u8>,
}

impl ResponseWriter {
    pub(super) fn new(chunks: ChunkWriter) -> Self {
        Self { chunks, last: Vec::new() }
    }

    pub(crate) fn json(&mut self, value: &impl Serialize) -> Result<(), QueryError> {
        Ok(serde_json::to_writer(self, value)?)
    }

    /// Flushes the last chunk and returns the buffered response; empty if the response was streamed.
    pub(super) fn finish(mut self) -> Result<VecDeque<Bytes>, QueryError> {
        if !self.last.is_empty() {
            self.push()?;
        }
        Ok(self.chunks.finish())
    }

    fn push(&mut self) -> io::Result<()> {
        self.chunks.push(Bytes::from(mem::take(&mut self.last)))
    }
}

impl io::Write for ResponseWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let bytes = &bytes[..bytes.len().min(CHUNK_BYTES - self.last.len())];
        self.last.extend_from_slice(bytes);
        if self.last.len() == CHUNK_BYTES {
            self.push()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
