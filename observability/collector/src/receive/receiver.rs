//! Handles a message of any transport: decompresses it, converts it to protobuf and passes it to ingest.

use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;

use super::admission::{LARGE_MESSAGE, MemoryBudget, Overloaded, Reservation};
use super::discards::Discards;
use super::encoding::{DecodingMemory, Encoding};
use super::items;
use super::refusal::{Reason, Refusal, Refusals};
use super::reply::PartialSuccess;
use super::signal::Signal;
use crate::ingest::{Ingest, Transport};

/// State shared by the receivers.
#[derive(Debug)]
pub(crate) struct Receiver {
    ingest: Arc<Ingest>,
    pub(crate) budget: Arc<MemoryBudget>,
    refusals: Refusals,
    pub(crate) discards: Discards,
}

/// The format of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    Protobuf,
    Json,
}

/// A message as it arrived.
#[derive(Debug)]
pub(super) struct Export {
    pub(super) signal: Signal,
    pub(super) transport: Transport,
    pub(super) format: Format,
    pub(super) encoding: Option<Encoding>,
    pub(super) body: Bytes,
    pub(super) reservation: Arc<Reservation>,
    /// The address of the sender.
    pub(super) peer: Option<IpAddr>,
}

impl Receiver {
    /// Returns a receiver for `ingest`, with the memory budget beside a store of `store_max_bytes`.
    pub(crate) fn new(ingest: Arc<Ingest>, store_max_bytes: usize) -> Self {
        let budget = Arc::new(MemoryBudget::for_store(store_max_bytes));
        Self { ingest, budget, refusals: Refusals::default(), discards: Discards::default() }
    }

    /// Counts and logs a refused message.
    pub(super) fn record(&self, refusal: &Refusal, peer: Option<IpAddr>) {
        self.refusals.record(refusal.reason(), &refusal.to_string(), peer);
    }

    /// Counts and logs a query that is refused because too many others are being answered.
    pub(crate) fn record_busy_query(&self) {
        self.refusals.record(Reason::QueryBusy, "server busy", None);
    }

    /// Returns the number of refusals since the start, by reason.
    pub(crate) fn refusals(&self) -> impl Iterator<Item = (&'static str, u64)> {
        self.refusals.counts()
    }

    /// Handles a message. Spans are in the store when it returns; other signals are counted.
    pub(super) async fn export(
        self: &Arc<Self>,
        mut export: Export,
    ) -> Result<Option<PartialSuccess>, Refusal> {
        if export.encoding.is_some() || export.format == Format::Json {
            export = self.unpack(export).await?;
        }
        let Export { signal, transport, format, peer, .. } = export;
        if signal == Signal::Traces {
            let accepted = self.handle(export, move |receiver, message| {
                let accepted = receiver.ingest.accept(message, transport);
                accepted.map_err(|error| Refusal::NotOtlp { signal, error: error.to_string() })
            });
            let partial_success = accepted.await?;
            return Ok(partial_success.map(|spans| PartialSuccess {
                rejected: spans.rejected_spans,
                message: spans.error_message,
            }));
        }
        let counted = self.handle(export, move |_, message| {
            let items = match format {
                Format::Protobuf => items::in_protobuf(signal, message).map_err(|error| error.to_string()),
                Format::Json => items::in_json(signal, message).map_err(|error| error.to_string()),
            };
            items.map_err(|error| Refusal::NotOtlp { signal, error })
        });
        Ok(self.discards.record(signal, &counted.await?, peer))
    }

    /// Decompresses a message and converts the JSON of traces to protobuf, on a blocking thread, so that it does not delay
    /// other requests.
    async fn unpack(self: &Arc<Self>, export: Export) -> Result<Export, Refusal> {
        let permit = self.budget.decode_permit().await?;
        let receiver = Arc::clone(self);
        let unpacking = tokio::task::spawn_blocking(move || {
            // Kept until the end, even if the sender disconnects.
            let _permit = permit;
            let mut export = export;
            let mut memory =
                DecodingMemory::new(Arc::clone(&receiver.budget), Arc::clone(&export.reservation));
            if let Some(encoding) = export.encoding.take() {
                export.body = encoding.decompress(&export.body, &mut memory)?.into();
            }
            if export.format == Format::Json && export.signal == Signal::Traces {
                memory.permit(export.body.len())?;
                export.body = receiver
                    .ingest
                    .json_to_protobuf(&export.body)
                    .map_err(|error| Refusal::NotOtlp { signal: export.signal, error: error.to_string() })?;
                export.format = Format::Protobuf;
            }
            Ok(export)
        });
        unpacking.await.unwrap_or_else(|error| {
            tracing::error!(%error, "cannot read a message");
            Err(Refusal::Internal)
        })
    }

    /// Runs `handle` on a message; for a large one on a blocking thread, so that it does not delay other requests.
    async fn handle<T: Send + 'static>(
        self: &Arc<Self>,
        Export { body, reservation, .. }: Export,
        handle: impl FnOnce(&Self, &Bytes) -> Result<T, Refusal> + Send + 'static,
    ) -> Result<T, Refusal> {
        if body.len() <= LARGE_MESSAGE {
            return handle(self, &body);
        }
        let permit = self.budget.large_message_permit().await?;
        let receiver = Arc::clone(self);
        let handling = tokio::task::spawn_blocking(move || {
            // Kept until the end, even if the sender disconnects.
            let _held = (permit, reservation);
            handle(&receiver, &body)
        });
        match handling.await {
            Ok(handled) => handled,
            Err(error) => match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                // The runtime is shutting down; the message was not handled.
                Err(_) => Err(Overloaded.into()),
            },
        }
    }
}
