//! Answers that take long, or are long: worked out apart from the runtime's own threads, lest they hold up the receivers,
//! a few at a time; and bounded in what they take until their readers have them.

mod delivery;
mod lazily;
mod writing;

use std::collections::VecDeque;
use std::fmt::Display;
use std::io;
use std::time::Duration;

use axum::body::{Bytes, to_bytes};
use axum::http::header;
use axum::response::{IntoResponse as _, Response};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use delivery::{Delivery, PIECE};
pub(crate) use lazily::Lazily;
pub(crate) use writing::Writing;

/// Kibibytes of answers that wait for readers to read on.
const UNREAD: usize = 32 << 10;
static UNREAD_ROOM: Semaphore = Semaphore::const_new(UNREAD);

/// One long answer at a time, of all the questions that share this: it keeps its place among those that are worked at for as
/// long as its reader takes, and others want to have places left.
pub(crate) static LONG_ROOM: Semaphore = Semaphore::const_new(1);

/// As long is waited for others' readers; longer, and nobody would know what the wait is for.
const PATIENCE: Duration = Duration::from_secs(3);

/// What to tell who asked when others' answers take all the room.
pub(crate) const BUSY: &str = "too much is on its way already; ask again in some seconds, or for less";

/// Why there is no answer, or no more of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unanswered {
    /// The work broke off; the log says why, unless it is because nobody reads on.
    #[error("the work broke off")]
    BrokeOff,
    /// Others take all the room.
    #[error("{BUSY}")]
    Busy,
}

impl From<serde_json::Error> for Unanswered {
    fn from(error: serde_json::Error) -> Self {
        if error.is_io() { io::Error::from(error).into() } else { broke_off(&error) }
    }
}

/// Of writing, which fails when nobody reads on.
impl From<io::Error> for Unanswered {
    fn from(_: io::Error) -> Self {
        Self::BrokeOff
    }
}

/// Does `work` once there is `room` for it; others wait.
pub(crate) async fn answer<E: From<Unanswered> + Send + 'static>(
    room: &'static Semaphore,
    work: impl FnOnce() -> Result<Response, E> + Send + 'static,
) -> Result<Response, E> {
    // Never closed.
    let room = room.acquire().await.map_err(|_| Unanswered::BrokeOff)?;
    // The room goes along: the work is done even when its caller has gone away long before.
    let done = spawn_blocking(move || (work(), room)).await;
    let (response, _room) = done.map_err(|error| broke_off(&error))?;
    let (head, body) = response?.into_parts();
    let mut body = to_bytes(body, usize::MAX).await.map_err(|error| broke_off(&error))?;
    let mut pieces = VecDeque::new();
    while !body.is_empty() {
        pieces.push_back(body.split_to(body.len().min(PIECE)));
    }
    Ok((head, whole(pieces).await?).into_response())
}

/// Answers with what `work` writes, once there is `room` for it; others wait. A long answer is sent while it is written, no
/// faster than it is read: for that there has to be room in `long`, too, if `room` is not enough. Its head has left long
/// before its end, so `work` refuses, if it does, before it writes: what fails later can only break off.
pub(crate) async fn written<E: From<Unanswered> + Send + 'static>(
    room: &'static Semaphore,
    long: Option<&'static Semaphore>,
    content_type: &'static str,
    work: impl FnOnce(&mut Writing) -> Result<(), E> + Send + 'static,
) -> Result<Response, E> {
    let room = match long {
        // A long answer has one of its places: others are to know that they wait for it.
        Some(_) => patiently(room, 1).await?,
        None => room.acquire().await.map_err(|_| Unanswered::BrokeOff)?,
    };
    let (mut writing, becomes_long, more) = Writing::begin();
    let mut work = spawn_blocking(move || {
        let done = work(&mut writing).and_then(|()| Ok(writing.end()?));
        (done, room)
    });
    let body = tokio::select! {
        // Work that is done may have become long.
        biased;
        Ok(pieces) = becomes_long => {
            let held = match long {
                Some(long) => Some(patiently(long, 1).await?),
                None => None,
            };
            let end = async move {
                let (done, _room) = work.await.map_err(|error| broke_off(&error))?;
                done.map(drop).map_err(|_| Unanswered::BrokeOff)
            };
            Delivery { pieces, more, end: Box::pin(end), until: Delivery::deadline(), held }.into_body().into_response()
        }
        done = &mut work => {
            let (done, room) = done.map_err(|error| broke_off(&error))?;
            // Readers who are waited for are nothing that keeps others' questions from being worked at.
            drop(room);
            whole(done?).await?
        }
    };
    Ok(([(header::CONTENT_TYPE, content_type)], body).into_response())
}

/// Room that others give back before long.
pub(crate) async fn patiently(
    room: &'static Semaphore,
    share: u32,
) -> Result<SemaphorePermit<'static>, Unanswered> {
    let acquired = timeout(PATIENCE, room.acquire_many(share)).await;
    acquired.ok().and_then(Result::ok).ok_or(Unanswered::Busy)
}

/// An answer that is all there.
async fn whole(pieces: VecDeque<Bytes>) -> Result<Response, Unanswered> {
    let bytes: usize = pieces.iter().map(Bytes::len).sum();
    let held = if bytes > PIECE {
        Some(patiently(&UNREAD_ROOM, (bytes >> 10).min(UNREAD) as u32).await?)
    } else {
        None
    };
    Ok(([(header::CONTENT_LENGTH, bytes)], Delivery::of(pieces, held).into_body()).into_response())
}

fn broke_off(error: &dyn Display) -> Unanswered {
    tracing::error!(%error, "a query failed");
    Unanswered::BrokeOff
}

#[cfg(test)]
mod tests;
