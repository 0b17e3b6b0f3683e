//! A collector opened from the files that another left. It answers as that one did, and takes no spans.

use std::io::BufRead;
use std::sync::Arc;

use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::{Error, Hosting};
use crate::ingest::{Ingest, OpenError};
use telemetry::server;

/// The traces and figures of a collector at one moment.
#[derive(Debug)]
pub struct Opened(Arc<Ingest>);

impl Opened {
    /// Reads what `GET /api/workbench/state` and `GET /api/workbench/traces` gave.
    pub fn read(state: &[u8], traces: impl BufRead) -> Result<Self, OpenError> {
        Ingest::open(state, traces).map(|ingest| Self(Arc::new(ingest)))
    }

    /// How many traces there are.
    pub fn traces(&self) -> usize {
        self.0.store.stats().traces
    }

    /// Answers queries until `shutdown`.
    pub async fn serve(
        self,
        query: TcpListener,
        hosting: &Hosting,
        shutdown: CancellationToken,
    ) -> Result<(), Error> {
        let (ui, base) = hosting.read()?;
        let router = super::query(&self.0, &shutdown, ui, &base);
        Ok(server::serve(query, router, shutdown).await?)
    }
}
