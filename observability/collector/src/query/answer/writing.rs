//! An answer while it is written.

use std::collections::VecDeque;
use std::{io, mem};

use axum::body::Bytes;
use serde::Serialize;
use tokio::sync::{mpsc, oneshot};

use super::Unanswered;
use super::delivery::PIECE;

/// A longer answer is not kept until it is all there.
pub(super) const KEPT: usize = 8 << 20;

/// Pieces that are written ahead of the reader of a long answer.
const AHEAD: usize = 2;

/// Takes what is written, and as soon as it is long waits for its reader: on a thread for work that blocks.
#[derive(Debug)]
pub(crate) struct Writing {
    kept: VecDeque<Bytes>,
    last: Vec<u8>,
    /// Who gets what is kept when the answer becomes long. It is long when there is nobody.
    becomes_long: Option<oneshot::Sender<VecDeque<Bytes>>>,
    more: mpsc::Sender<Bytes>,
}

impl Writing {
    /// With it come the first pieces of a long answer, all at once, and the others one by one.
    pub(super) fn begin() -> (Self, oneshot::Receiver<VecDeque<Bytes>>, mpsc::Receiver<Bytes>) {
        let (becomes_long, long) = oneshot::channel();
        let (more, rest) = mpsc::channel(AHEAD);
        let becomes_long = Some(becomes_long);
        (Self { kept: VecDeque::new(), last: Vec::new(), becomes_long, more }, long, rest)
    }

    pub(crate) fn json(&mut self, value: &impl Serialize) -> Result<(), Unanswered> {
        Ok(serde_json::to_writer(self, value)?)
    }

    /// The whole answer, or nothing of a long one.
    pub(super) fn end(mut self) -> Result<VecDeque<Bytes>, Unanswered> {
        if !self.last.is_empty() {
            self.push()?;
        }
        Ok(self.kept)
    }

    fn push(&mut self) -> io::Result<()> {
        let piece = Bytes::from(mem::take(&mut self.last));
        if self.becomes_long.is_some() && self.kept.len() < KEPT / PIECE {
            self.kept.push_back(piece);
            return Ok(());
        }
        if let Some(becomes_long) = self.becomes_long.take() {
            // Whoever does not take this does not take the next piece either.
            let _ = becomes_long.send(mem::take(&mut self.kept));
        }
        self.more.blocking_send(piece).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}

impl io::Write for Writing {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let bytes = &bytes[..bytes.len().min(PIECE - self.last.len())];
        self.last.extend_from_slice(bytes);
        if self.last.len() == PIECE {
            self.push()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
