//! Answers that take long, and are long: worked out apart from the runtime's own threads, lest they hold up the receivers,
//! and so many at a time, for each may hold a copy of every trace that it shows.

mod delivery;

use axum::body::{Body, to_bytes};
use axum::response::Response;
use tokio::sync::Semaphore;

use delivery::Delivery;

/// The work broke off; the log says why.
#[derive(Debug)]
pub(crate) struct BrokeOff;

/// Does `work` once there is `room` for it; others wait. A long answer takes room until its reader has it.
pub(crate) async fn answer<E: From<BrokeOff> + Send + 'static>(
    room: &'static Semaphore,
    work: impl FnOnce() -> Result<Response, E> + Send + 'static,
) -> Result<Response, E> {
    // Never closed.
    let room = room.acquire().await.map_err(|_| BrokeOff)?;
    // The room goes along: the work is done even when its caller has gone away long before.
    let done = tokio::task::spawn_blocking(move || (work(), room)).await;
    let (response, room) = done.map_err(|error| broke_off(&error))?;
    let (head, body) = response?.into_parts();
    let body = to_bytes(body, usize::MAX).await.map_err(|error| broke_off(&error))?;
    Ok(Response::from_parts(head, Body::new(Delivery::of(body, room))))
}

fn broke_off(error: &dyn std::fmt::Display) -> BrokeOff {
    tracing::error!(%error, "a query failed");
    BrokeOff
}
