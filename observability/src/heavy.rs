//! Answers that take long, and are long: worked out apart from the runtime's own threads, lest they hold up the receivers,
//! a few at a time; and bounded in what they take until their readers have them.

mod delivery;
mod writing;

use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::response::Response;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use delivery::{Delivery, Held, PIECE, Pieces};
pub(crate) use writing::Writing;
use writing::{Large, Written};

/// Kibibytes of answers that wait for readers to read on.
const UNREAD: usize = 128 << 10;
static UNREAD_ROOM: Semaphore = Semaphore::const_new(UNREAD);

/// As long is waited for others' readers; longer, and nobody would know what the wait is for.
const PATIENCE: Duration = Duration::from_secs(3);

/// Why there is no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unanswered {
    /// The work broke off; the log says why.
    BrokeOff,
    /// Too many long answers wait for readers who do not read on.
    Busy,
}

/// What to tell who asked when others' answers take all the room.
pub(crate) const BUSY: &str =
    "too many long answers are on their way; ask again in some seconds, or for less";

/// Does `work` once there is `room` for it; others wait.
pub(crate) async fn answer<E: From<Unanswered> + Send + 'static>(
    room: &'static Semaphore,
    work: impl FnOnce() -> Result<Response, E> + Send + 'static,
) -> Result<Response, E> {
    // Never closed.
    let room = room.acquire().await.map_err(|_| Unanswered::BrokeOff)?;
    // The room goes along: the work is done even when its caller has gone away long before.
    let done = tokio::task::spawn_blocking(move || (work(), room)).await;
    let (response, room) = done.map_err(|error| broke_off(&error))?;
    let (mut head, body) = response?.into_parts();
    let (pieces, written) = match head.extensions.remove::<Written>() {
        Some(written) => (body, written),
        None => {
            let body = to_bytes(body, usize::MAX).await.map_err(|error| broke_off(&error))?;
            let written = Written { bytes: body.len(), large: None };
            (Body::new(Pieces::of(body)), written)
        }
    };
    let held = match written {
        Written { large: Some(large), .. } => Some(Held::Large(large)),
        Written { bytes, large: None } if bytes > PIECE => {
            let kibibytes = (bytes >> 10).min(UNREAD) as u32;
            let unread = timeout(PATIENCE, UNREAD_ROOM.acquire_many(kibibytes)).await;
            Some(Held::Unread(unread.ok().and_then(Result::ok).ok_or(Unanswered::Busy)?))
        }
        Written { .. } => None,
    };
    drop(room);
    Ok(Response::from_parts(head, Body::new(Delivery::of(pieces, held))))
}

fn broke_off(error: &dyn std::fmt::Display) -> Unanswered {
    tracing::error!(%error, "a query failed");
    Unanswered::BrokeOff
}
