//! A read-only collector over the files that another collector wrote.

use std::io::BufRead;
use std::sync::Arc;

use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::{Error, Settings};
use crate::ingest::{Ingest, OpenError};
use crate::receive::Receiver;
use telemetry::server;

/// The stored traces and statistics of a collector at one time. It answers queries as that collector did, and accepts no
/// spans.
#[derive(Debug)]
pub struct Snapshot(Arc<Ingest>);

impl Snapshot {
    /// Reads the bodies of `GET /api/workbench/state` and `GET /api/workbench/traces`, written by a collector that keeps at
    /// most `max_bytes`.
    pub fn read(state: &[u8], traces: impl BufRead, max_bytes: usize) -> Result<Self, OpenError> {
        Ingest::open(state, traces, max_bytes).map(|ingest| Self(Arc::new(ingest)))
    }

    /// Returns the number of traces.
    pub fn traces(&self) -> usize {
        self.0.store.stats().traces
    }

    /// Answers queries on `query` until `shutdown`. Uses only those of `settings` that concern queries.
    pub async fn serve(
        self,
        query: TcpListener,
        settings: &Settings,
        shutdown: CancellationToken,
    ) -> Result<(), Error> {
        // Nothing is received, so the receiver only provides its metrics.
        let receiver = Arc::new(Receiver::new(Arc::clone(&self.0), 0));
        let ui = super::open_jaeger_ui(settings)?;
        let router = super::query(&self.0, &receiver, ui, settings, &shutdown);
        server::serve(query, router, shutdown).await?;
        tracing::info!("collector stopped");
        Ok(())
    }
}
