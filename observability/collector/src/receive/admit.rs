//! A message that was read, on its way into the store.

use std::sync::Arc;

use bytes::Bytes;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTracePartialSuccess;

use super::admission::{Held, LIGHT, NoRoom};
use crate::ingest::{Ingest, Transport};
use crate::otlp::wire::Malformed;

/// Why nothing of a message was taken.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotTaken {
    #[error("not an OTLP trace export: {0}")]
    Malformed(#[from] Malformed),
    #[error(transparent)]
    NoRoom(#[from] NoRoom),
}

/// A large one is taken apart from the runtime's own threads, which have others to answer, and keeps what it holds until then.
pub(crate) async fn take(
    ingest: &Arc<Ingest>,
    held: Option<Arc<Held>>,
    message: Bytes,
    transport: Transport,
) -> Result<Option<ExportTracePartialSuccess>, NotTaken> {
    if message.len() <= LIGHT {
        return Ok(ingest.accept(&message, transport)?);
    }
    let place = ingest.room.place().await?;
    let ingest = Arc::clone(ingest);
    let taking = tokio::task::spawn_blocking(move || {
        // All of it is taken, though its sender may have gone away long before.
        let _held = (place, held);
        ingest.accept(&message, transport)
    });
    match taking.await {
        Ok(taken) => Ok(taken?),
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // Only when everything ends: nothing was taken.
            Err(_) => Err(NoRoom.into()),
        },
    }
}
