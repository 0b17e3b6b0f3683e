//! Responses that take long to compute or are large.
//!
//! They are computed on blocking threads, so that they do not delay the receivers on the runtime's own threads; the number
//! computed at once and the memory of responses that clients have not read yet are bounded.
//!
//! `tower`'s concurrency limit and load shedding end with a handler's return. Here the permits are held by the response
//! body, until the client has read it.

mod body;
mod lazy_seq;
mod writer;
mod blocking;

use std::fmt::Display;
use std::io;

pub(crate) use blocking::{STREAM_PERMIT, acquire_or_busy, compute, respond, stream, stream_chunks};
pub(crate) use lazy_seq::LazySeq;
pub(crate) use writer::{ChunkWriter, ResponseWriter};

/// Message of a response that was refused because too many others are in progress.
pub(crate) const BUSY: &str = "server busy: retry shortly or narrow the query";

/// A query without a response, or with only part of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum QueryError {
    /// The computation failed, and the cause was logged; or the client closed its connection.
    #[error("query failed")]
    Failed,
    /// Other queries hold all permits.
    #[error("{BUSY}")]
    Busy,
}

impl QueryError {
    fn logged(error: &dyn Display) -> Self {
        tracing::error!(%error, "query failed");
        Self::Failed
    }
}

impl From<serde_json::Error> for QueryError {
    fn from(error: serde_json::Error) -> Self {
        if error.is_io() { io::Error::from(error).into() } else { Self::logged(&error) }
    }
}

/// An error of [`ResponseWriter`], which fails only when the client has closed its connection.
impl From<io::Error> for QueryError {
    fn from(_: io::Error) -> Self {
        Self::Failed
    }
}

#[cfg(test)]
mod tests;
