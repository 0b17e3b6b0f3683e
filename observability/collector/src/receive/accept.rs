//! Passes a decoded message to ingest.

use std::sync::Arc;

use bytes::Bytes;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTracePartialSuccess;

use super::admission::{LARGE_MESSAGE, MemoryBudget, Overloaded, Reservation};
use crate::ingest::{Ingest, Transport};
use crate::otlp::wire::Malformed;

/// State shared by the receivers.
#[derive(Debug, Clone)]
pub(super) struct ReceiverContext {
    pub(super) ingest: Arc<Ingest>,
    pub(super) budget: Arc<MemoryBudget>,
}

/// A message was not accepted. Nothing of it is stored.
#[derive(Debug, thiserror::Error)]
pub(super) enum AcceptError {
    #[error("not an OTLP trace export: {0}")]
    Malformed(#[from] Malformed),
    #[error(transparent)]
    Overloaded(#[from] Overloaded),
}

impl ReceiverContext {
    /// Ingests a message. A large one is ingested on a blocking thread, so that it does not delay other requests.
    pub(super) async fn accept(
        &self,
        reservation: Option<Arc<Reservation>>,
        message: Bytes,
        transport: Transport,
    ) -> Result<Option<ExportTracePartialSuccess>, AcceptError> {
        if message.len() <= LARGE_MESSAGE {
            return Ok(self.ingest.accept(&message, transport)?);
        }
        let permit = self.budget.large_message_permit().await?;
        let ingest = Arc::clone(&self.ingest);
        let accepting = tokio::task::spawn_blocking(move || {
            // Kept until the end, even if the sender disconnects.
            let _held = (permit, reservation);
            ingest.accept(&message, transport)
        });
        match accepting.await {
            Ok(accepted) => Ok(accepted?),
            Err(error) => match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                // The runtime is shutting down; the message was not ingested.
                Err(_) => Err(Overloaded.into()),
            },
        }
    }
}
