//! Log lines of the start, with the limits, and of the stop, with the totals.

use std::io;

use super::{Listeners, Settings, connection_limit};
use crate::ingest::Ingest;
use crate::otlp::MAX_MESSAGE;
use crate::receive::Receiver;

/// Logs the addresses, the limits and the version.
pub(super) fn start(listeners: &Listeners, settings: &Settings, receiver: &Receiver) -> io::Result<()> {
    let Listeners { grpc, http, query, query_grpc } = listeners;
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        query = %query.local_addr()?,
        query_grpc = %query_grpc.local_addr()?,
        otlp_grpc = %grpc.local_addr()?,
        otlp_http = %http.local_addr()?,
        forward = settings.otlp_forward_endpoint,
        store_max_bytes = settings.store_max_bytes,
        message_max_bytes = MAX_MESSAGE,
        inflight_max_bytes = receiver.budget.max_bytes(),
        max_connections = connection_limit(settings),
        "collector started"
    );
    Ok(())
}

/// Logs what was received and refused since the start.
pub(super) fn stop(ingest: &Ingest, receiver: &Receiver) {
    let counts = &ingest.counts;
    let refused_requests: u64 = receiver.refusals().map(|(_, count)| count).sum();
    tracing::info!(
        received_spans = counts.grpc_spans.get() + counts.http_spans.get(),
        rejected_spans = counts.rejected_spans.get(),
        refused_requests,
        stored_traces = ingest.store.stats().traces,
        "collector stopped"
    );
}
