//! What becomes of a message of spans, whichever way it came: checked, counted, stored, measured, passed on.
//!
//! All of it happens before the sender gets its reply, so that what was accepted is never in a queue that a crash
//! or a stop could empty; only what is passed on may wait, or be dropped and counted, on its own.

mod loss;
mod read;
mod snapshot;

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTracePartialSuccess;

use crate::forward::Forward;
use crate::latency::{self, Hop, Latencies, Measurement, Series, SeriesKey};
use crate::otlp::wire::Malformed;
use crate::store::{ExemplarChange, Inserted, SpanBatch, Store};
use crate::trace::Kind;

pub(crate) use loss::Losses;
use read::ReadOutcome;
pub use snapshot::OpenError;

/// The histograms, their slowest and their exemplars get this share of the bound; what they do not take is the store's.
const LATENCIES_SHARE: usize = 4;

/// What is remembered of traces that left comes to this share at most.
const PAST_SHARE: usize = 14;

/// Which receiver a message came by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Transport {
    Grpc,
    Http,
}

/// Everything that spans go into, and that queries read.
#[derive(Debug)]
pub(crate) struct Ingest {
    max_bytes: usize,
    pub(crate) store: Store,
    latencies: Mutex<Latencies>,
    losses: Mutex<Losses>,
    pub(crate) forward: Option<Forward>,
    pub(crate) counts: Counts,
}

/// Counts since the start.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    pub(crate) grpc_spans: Counter,
    pub(crate) http_spans: Counter,
    pub(crate) rejected_spans: Counter,
    pub(crate) refused_requests: Counter,
}

pub(crate) type Counter = prometheus_client::metrics::counter::Counter;

impl Ingest {
    /// Keeps traces and histograms of `max_bytes` together.
    pub(crate) fn new(max_bytes: usize, forward: Option<Forward>) -> Self {
        Self {
            max_bytes,
            store: Store::new(max_bytes),
            latencies: Mutex::new(Latencies::new(max_bytes / LATENCIES_SHARE)),
            losses: Mutex::default(),
            forward,
            counts: Counts::default(),
        }
    }

    /// Takes an encoded `ExportTraceServiceRequest` in. The reply tells the sender of spans that cannot be kept; a message
    /// that breaks off, or is something else, is refused as a whole, and nothing of it is taken.
    pub(crate) fn accept(
        &self,
        message: &Bytes,
        transport: Transport,
    ) -> Result<Option<ExportTracePartialSuccess>, Malformed> {
        let mut spans = 0;
        let read = read::read(message, SpanBatch::with_capacity(message.len()), |batch| {
            self.keep(batch);
            spans += batch.len() as u64;
        });
        let ReadOutcome { reports, rejected } = read.inspect_err(|_| self.count_refusal())?;
        for report in reports {
            self.losses().record(report);
        }
        let by_transport = match transport {
            Transport::Grpc => &self.counts.grpc_spans,
            Transport::Http => &self.counts.http_spans,
        };
        by_transport.inc_by(spans);
        if let Some(forward) = &self.forward {
            forward.offer(message, spans);
        }
        let Some((rejected, why)) = rejected else { return Ok(None) };
        self.counts.rejected_spans.inc_by(rejected);
        let error_message = format!("{rejected} spans could not be taken, the first because {why}");
        Ok(Some(ExportTracePartialSuccess { rejected_spans: rejected as i64, error_message }))
    }

    /// Every service that is known, sorted: those of spans that no histogram had room for, too.
    pub(crate) fn services(&self) -> Vec<String> {
        let measured = self.latencies().services().into_iter().filter(|name| latency::is_untruncated(name));
        let services: BTreeSet<String> = self.store.services().into_iter().chain(measured).collect();
        services.into_iter().collect()
    }

    /// A service's operations with their kinds, sorted: those that no histogram had room for, too.
    pub(crate) fn operations(&self, service: &str) -> Vec<(String, Kind)> {
        let measured = self.latencies().operations(service).into_iter();
        let measured = measured.filter(|(name, _)| latency::is_untruncated(name));
        let operations: BTreeSet<_> = self.store.operations(service).into_iter().chain(measured).collect();
        operations.into_iter().collect()
    }

    /// Every series as a row, by service, operation and kind.
    pub(crate) fn hops(&self, histograms: bool) -> Vec<Hop> {
        if histograms {
            return self.series().map(|(name, series)| series.hop(name, true)).collect();
        }
        let names = self.latencies().names().into_iter();
        names.filter_map(|name| Some(self.latencies().get(&name)?.hop(name, false))).collect()
    }

    /// Copies, for to encode one takes long: spans wait while it is copied alone.
    fn series(&self) -> impl Iterator<Item = (SeriesKey, Series)> {
        let names = self.latencies().names();
        names.into_iter().filter_map(|name| {
            let series = self.latencies().get(&name)?.copy();
            Some((name, series))
        })
    }

    /// A message that could not be read at all.
    pub(crate) fn count_refusal(&self) {
        self.counts.refused_requests.inc();
    }

    pub(crate) fn latencies(&self) -> MutexGuard<'_, Latencies> {
        self.latencies.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn losses(&self) -> MutexGuard<'_, Losses> {
        self.losses.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Stores and measures what is new. The histograms stay locked all the while: whoever finds a trace finds it measured,
    /// and the store hears what became telling in the order in which it did.
    fn keep(&self, batch: &SpanBatch<'_>) {
        let mut latencies = self.latencies();
        let inserted = self.store.insert(batch);
        latencies.forget(&inserted.evicted);
        let mut changes = measure(&mut latencies, batch, &inserted);
        let taken = latencies.bytes() + self.max_bytes / PAST_SHARE;
        let for_traces = self.max_bytes.saturating_sub(taken).max(self.max_bytes / 2);
        while self.store.evict_to_fit(&changes, for_traces) {
            changes.clear();
            latencies.reduce_exemplars(|id| self.store.bytes_of(id), &mut changes);
            if changes.is_empty() {
                latencies.forget(&self.store.evict_oldest_to_fit(for_traces));
            }
        }
        if latencies.has_fewer_exemplars() && self.store.has_space_for_exemplars(for_traces) {
            latencies.raise_exemplars();
        }
    }
}

/// Measures what is new. Returns what became telling, or no longer is.
fn measure(
    latencies: &mut Latencies,
    batch: &SpanBatch<'_>,
    Inserted { duplicate, late, evicted }: &Inserted,
) -> Vec<ExemplarChange> {
    let mut changes = Vec::new();
    for (service, spans) in batch.by_service() {
        let new = spans.filter(|(position, _)| duplicate.binary_search(position).is_err());
        let is_here = |position, id| late.binary_search(&position).is_err() && !evicted.contains(&id);
        let measurements = new.map(|(position, head)| Measurement {
            trace_id: is_here(position, head.trace_id).then_some(head.trace_id),
            operation: head.name,
            kind: head.kind,
            start_ns: head.start_ns,
            end_ns: head.end_ns,
            error: head.error,
        });
        latencies.record(service, measurements, &mut changes);
    }
    changes
}

#[cfg(test)]
mod tests;
