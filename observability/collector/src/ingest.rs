//! Ingest: validates, counts, stores, measures and forwards a message of spans, for every transport.
//!
//! All of this happens before the sender gets its reply, so an accepted span is never in a queue that a crash or stop
//! could lose. Only forwarding is asynchronous; it drops and counts spans on its own.

mod exporter_losses;
mod repaired_message;
mod message;
mod snapshot;

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTracePartialSuccess;

use crate::forward::Forward;
use crate::latency::{self, GroupHops, Hop, Latencies, Measurement, Series, SeriesKey};
use crate::otlp;
use crate::otlp::repair::Repairs;
use crate::otlp::wire::Malformed;
use crate::store::{ExemplarChange, Inserted, SpanBatch, Store};
use crate::trace::{Kind, TraceGroup};

pub(crate) use exporter_losses::ExporterLosses;
use message::ReadOutcome;
pub use snapshot::{BYTE_ORDER_MARK, OpenError};

/// Share of the memory limit for histograms and exemplars, as a divisor; the store may use what they do not need.
const LATENCIES_DIVISOR: usize = 4;

/// Maximum share of the memory limit for the ids of evicted traces, as a divisor.
const EVICTED_IDS_DIVISOR: usize = 14;

/// The receiver that a message arrived at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Transport {
    Grpc,
    Http,
}

/// The state that spans are written to and queries read.
#[derive(Debug)]
pub(crate) struct Ingest {
    max_bytes: usize,
    pub(crate) store: Store,
    latencies: Mutex<Latencies>,
    losses: Mutex<ExporterLosses>,
    pub(crate) forward: Option<Forward>,
    pub(crate) counts: IngestCounters,
}

/// Counters since the start.
#[derive(Debug, Default)]
pub(crate) struct IngestCounters {
    pub(crate) grpc_spans: Counter,
    pub(crate) http_spans: Counter,
    pub(crate) rejected_spans: Counter,
    pub(crate) repaired_strings: Counter,
    pub(crate) cut_parts: Counter,
}

pub(crate) type Counter = prometheus_client::metrics::counter::Counter;

impl Ingest {
    /// Returns an empty state that keeps traces and histograms within `max_bytes` in total.
    pub(crate) fn new(max_bytes: usize, forward: Option<Forward>) -> Self {
        Self {
            max_bytes,
            store: Store::new(max_bytes),
            latencies: Mutex::new(Latencies::new(max_bytes / LATENCIES_DIVISOR)),
            losses: Mutex::default(),
            forward,
            counts: IngestCounters::default(),
        }
    }

    /// Ingests an encoded `ExportTraceServiceRequest`. Invalid spans are rejected individually, and the reply says
    /// how many. A truncated or malformed message is refused as a whole: nothing of it is stored.
    pub(crate) fn accept(
        &self,
        message: &Bytes,
        transport: Transport,
    ) -> Result<Option<ExportTracePartialSuccess>, Malformed> {
        let mut spans = 0;
        let read = message::read(message, |batch| {
            self.store_and_measure(batch);
            spans += batch.len() as u64;
        });
        let ReadOutcome { reports, rejected, repairs } = read?;
        for report in reports {
            self.losses().record(report);
        }
        let by_transport = match transport {
            Transport::Grpc => &self.counts.grpc_spans,
            Transport::Http => &self.counts.http_spans,
        };
        by_transport.inc_by(spans);
        if let Some(forward) = &self.forward {
            if repairs == Repairs::default() {
                forward.offer(message, spans);
            } else {
                forward.offer(&message::repaired(message), spans);
            }
        }
        self.count_repairs(repairs);
        let Some((rejected, why)) = rejected else { return Ok(None) };
        self.counts.rejected_spans.inc_by(rejected);
        let error_message = format!("{rejected} spans rejected; the first one: {why}");
        Ok(Some(ExportTracePartialSuccess { rejected_spans: rejected as i64, error_message }))
    }

    /// Converts a message from JSON to protobuf, and counts what was repaired.
    pub(crate) fn json_to_protobuf(&self, json: &[u8]) -> serde_json::Result<Bytes> {
        let (message, repairs) = otlp::json_to_protobuf(json)?;
        self.count_repairs(repairs);
        Ok(message)
    }

    fn count_repairs(&self, Repairs { strings, cuts }: Repairs) {
        self.counts.repaired_strings.inc_by(strings);
        self.counts.cut_parts.inc_by(cuts);
    }

    /// Returns all known services, sorted, including those without a histogram.
    pub(crate) fn services(&self) -> Vec<String> {
        let measured = self.latencies().services().into_iter().filter(|name| latency::is_untruncated(name));
        let services: BTreeSet<String> = self.store.services().into_iter().chain(measured).collect();
        services.into_iter().collect()
    }

    /// Returns the operations of a service with their kinds, sorted, including those without a histogram.
    pub(crate) fn operations(&self, service: &str) -> Vec<(String, Kind)> {
        let measured = self.latencies().operations(service).into_iter();
        let measured = measured.filter(|(name, _)| latency::is_untruncated(name));
        let operations: BTreeSet<_> = self.store.operations(service).into_iter().chain(measured).collect();
        operations.into_iter().collect()
    }

    /// Returns every series as a row of the hops table, ordered by service, operation and kind.
    pub(crate) fn hops(&self, histograms: bool) -> Vec<Hop> {
        if histograms {
            return self.series().map(|(name, series)| series.hop(name, true)).collect();
        }
        let names = self.latencies().keys().into_iter();
        names.filter_map(|name| Some(self.latencies().get(&name)?.hop(name, false))).collect()
    }

    /// Returns the rows of a registered trace group; `None` for any other.
    pub(crate) fn group_hops(&self, group: TraceGroup, histograms: bool) -> Option<GroupHops> {
        self.latencies().group_hops(group, histograms)
    }

    /// Clones each series before it is encoded, so that ingest blocks only for the clone.
    fn series(&self) -> impl Iterator<Item = (SeriesKey, Series)> {
        let names = self.latencies().keys();
        names.into_iter().filter_map(|name| {
            let series = self.latencies().get(&name)?.copy();
            Some((name, series))
        })
    }

    pub(crate) fn latencies(&self) -> MutexGuard<'_, Latencies> {
        self.latencies.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn losses(&self) -> MutexGuard<'_, ExporterLosses> {
        self.losses.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Stores and measures the new spans. The histograms stay locked throughout: a query that finds a trace finds it
    /// measured, and the store receives changes of exemplars in order.
    fn store_and_measure(&self, batch: &SpanBatch<'_>) {
        let mut latencies = self.latencies();
        let inserted = self.store.insert(batch);
        latencies.remove_exemplars_of(&inserted.evicted);
        let mut changes = measure(&mut latencies, batch, &inserted);
        let reserved = latencies.bytes() + self.max_bytes / EVICTED_IDS_DIVISOR;
        let for_traces = self.max_bytes.saturating_sub(reserved).max(self.max_bytes / 2);
        while self.store.evict_to_fit(&changes, for_traces) {
            changes.clear();
            latencies.reduce_exemplars(|id| self.store.bytes_of(id), &mut changes);
            if changes.is_empty() {
                latencies.remove_exemplars_of(&self.store.evict_oldest_to_fit(for_traces));
            }
        }
        if latencies.has_fewer_exemplars() && self.store.has_space_for_exemplars(for_traces) {
            latencies.raise_exemplars();
        }
    }
}

/// Measures the new spans. Returns the changes of exemplars.
fn measure(
    latencies: &mut Latencies,
    batch: &SpanBatch<'_>,
    Inserted { duplicate, late, evicted }: &Inserted,
) -> Vec<ExemplarChange> {
    let mut changes = Vec::new();
    for (service, spans) in batch.by_service() {
        let new = spans.filter(|(position, _)| duplicate.binary_search(position).is_err());
        let is_here = |position, id| late.binary_search(&position).is_err() && !evicted.contains(&id);
        let measurements = new.map(|(position, header)| Measurement {
            trace_id: is_here(position, header.trace_id).then_some(header.trace_id),
            group: header.trace_id.group(),
            operation: header.name,
            kind: header.kind,
            // Without a start, the duration is unknown.
            start_ns: if header.start_ns == 0 { header.end_ns } else { header.start_ns },
            end_ns: header.end_ns,
            error: header.error,
        });
        latencies.record(service, measurements, &mut changes);
    }
    changes
}

#[cfg(test)]
mod tests;
