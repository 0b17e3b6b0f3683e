//! Work that takes long: apart from the runtime's own threads, lest it hold up the receivers, and so much of it at a time,
//! for each may hold a copy of every trace that it shows.

use tokio::sync::Semaphore;

/// The work broke off; the log says why.
#[derive(Debug)]
pub(crate) struct BrokeOff;

/// Does `work` once there is `room` for it; others wait.
pub(crate) async fn off_runtime<T: Send + 'static>(
    room: &'static Semaphore,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, BrokeOff> {
    // Never closed.
    let room = room.acquire().await.map_err(|_| BrokeOff)?;
    let work = move || {
        // Held until the work is done, though its caller may have gone away long before.
        let _room = room;
        work()
    };
    tokio::task::spawn_blocking(work).await.map_err(|error| {
        tracing::error!(%error, "a query failed");
        BrokeOff
    })
}
