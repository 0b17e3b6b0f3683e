//! The collector's metrics in Prometheus text format, followed by those of the process.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode_registry;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;

use crate::ingest::Ingest;
use crate::receive::Receiver;
use crate::store::EvictionReason;

/// Metrics of one collector. They have a separate registry, because tests run several collectors in one process.
#[derive(Debug, Clone)]
pub(super) struct Metrics(Arc<Registry>);

impl Metrics {
    pub(super) fn new(ingest: Arc<Ingest>, receiver: Arc<Receiver>) -> Self {
        let mut registry = Registry::with_prefix("collector");
        registry.register_collector(Box::new(Source { ingest, receiver }));
        Self(Arc::new(registry))
    }

    pub(super) fn render(&self) -> String {
        let mut text = String::new();
        // Writing to a String cannot fail.
        let _ = encode_registry(&mut text, &self.0);
        text + &telemetry::metrics::render()
    }
}

#[derive(Debug)]
struct Source {
    ingest: Arc<Ingest>,
    receiver: Arc<Receiver>,
}

type Labels<'a> = &'a [(&'a str, &'a str)];

impl Collector for Source {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let mut out = Encoder(encoder);
        self.receive_metrics(&mut out)?;
        self.store_metrics(&mut out)?;
        self.forward_metrics(&mut out)
    }
}

impl Source {
    fn receive_metrics(&self, out: &mut Encoder<'_>) -> Result<(), std::fmt::Error> {
        let counts = &self.ingest.counts;
        out.counters(
            "received_spans",
            "Spans accepted",
            [
                (&[("transport", "grpc")][..], counts.grpc_spans.get()),
                (&[("transport", "http")], counts.http_spans.get()),
            ],
        )?;
        out.counter(
            "rejected_spans",
            "Invalid spans rejected from accepted messages",
            counts.rejected_spans.get(),
        )?;
        out.counter(
            "repaired_strings",
            "Strings in which U+FFFD replaced invalid UTF-8 or half a surrogate pair",
            counts.repaired_strings.get(),
        )?;
        out.counter(
            "cut_parts",
            "Values, attributes, events, links and list items cut because of their depth or number",
            counts.cut_parts.get(),
        )?;
        self.refusal_metrics(out)?;
        out.gauge(
            "inflight_bytes",
            "Memory reserved for messages being received, in bytes",
            self.receiver.budget.reserved() as u64,
        )?;
        let losses: Vec<_> = {
            let losses = self.ingest.losses();
            losses
                .spans()
                .map(|((service, reason), count)| (service.to_owned(), reason.to_owned(), count))
                .collect()
        };
        let labels =
            losses.iter().map(|(service, reason, _)| [("service", &**service), ("reason", &**reason)]);
        let labels: Vec<_> = labels.collect();
        let counts = labels.iter().zip(&losses).map(|(labels, (_, _, count))| (&labels[..], *count));
        out.counters("exporter_dropped_spans", "Spans reported as dropped by their exporters", counts)
    }

    fn refusal_metrics(&self, out: &mut Encoder<'_>) -> Result<(), std::fmt::Error> {
        let refused: Vec<_> = self.receiver.refusals().collect();
        let labels: Vec<_> = refused.iter().map(|(reason, _)| [("reason", *reason)]).collect();
        let counts = labels.iter().zip(&refused).map(|(labels, (_, count))| (&labels[..], *count));
        out.counters("refused_requests", "Requests refused entirely", counts)?;
        let discarded: Vec<_> = self.receiver.discards.counts().collect();
        let labels: Vec<_> = discarded.iter().map(|(signal, _)| [("signal", *signal)]).collect();
        let counts = |which: usize| {
            labels.iter().zip(&discarded).map(move |(labels, (_, counts))| (&labels[..], counts[which]))
        };
        out.counters("discarded_requests", "Requests of signals that are accepted and not kept", counts(0))?;
        out.counters(
            "discarded_items",
            "Data points, log records and profiles accepted and not kept",
            counts(1),
        )
    }

    fn store_metrics(&self, out: &mut Encoder<'_>) -> Result<(), std::fmt::Error> {
        let stats = self.ingest.store.stats();
        out.gauge("store_bytes", "Size of the stored traces, in bytes", stats.bytes as u64)?;
        out.gauge("store_traces", "Stored traces", stats.traces as u64)?;
        out.gauge("store_spans", "Stored spans", stats.spans)?;
        let labels = EvictionReason::ALL.map(|reason| [("reason", reason.as_str())]);
        let evicted = labels.iter().zip(stats.evicted_traces).map(|(labels, count)| (&labels[..], count));
        out.counters("evicted_traces", "Traces evicted from the store", evicted)?;
        out.counter(
            "evicted_incomplete_traces",
            "Evicted traces of which spans were missing",
            stats.evicted_incomplete,
        )?;
        out.counter("evicted_spans", "Spans of evicted traces", stats.evicted_spans)?;
        out.counter("late_spans", "Spans received after the eviction of their trace", stats.late_spans)?;
        out.counter("duplicate_spans", "Spans received more than once", stats.duplicate_spans)?;
        let (series, overflow) = {
            let latencies = self.ingest.latencies();
            (latencies.series(), latencies.overflow())
        };
        out.gauge("latency_series", "Latency histograms", series as u64)?;
        out.counter(
            "latency_overflow_spans",
            "Spans not recorded because the memory for histograms was full",
            overflow,
        )
    }

    fn forward_metrics(&self, out: &mut Encoder<'_>) -> Result<(), std::fmt::Error> {
        let Some(forward) = &self.ingest.forward else { return Ok(()) };
        let counts = forward.counts();
        let (bytes, spans) = forward.queued();
        out.gauge("forward_queue_bytes", "Size of the forward queue, in bytes", bytes as u64)?;
        out.gauge("forward_queue_spans", "Spans in the forward queue", spans)?;
        out.counter(
            "forwarded_spans",
            "Spans forwarded to the second backend",
            counts.sent.load(Ordering::Relaxed),
        )?;
        let by_reason = [
            ("queue_full", &counts.queue_full),
            ("refused", &counts.refused),
            ("rejected", &counts.rejected),
            ("unreachable", &counts.unreachable),
            ("stopped", &counts.stopped),
        ];
        let labels = by_reason.map(|(reason, _)| [("reason", reason)]);
        let counts =
            labels.iter().zip(by_reason).map(|(l, (_, count))| (&l[..], count.load(Ordering::Relaxed)));
        out.counters("forward_dropped_spans", "Spans that could not be forwarded", counts)
    }
}

struct Encoder<'a>(DescriptorEncoder<'a>);

impl Encoder<'_> {
    fn gauge(&mut self, name: &str, help: &str, value: u64) -> Result<(), std::fmt::Error> {
        let gauge = ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX));
        gauge.encode(self.0.encode_descriptor(name, help, None, MetricType::Gauge)?)
    }

    fn counter(&mut self, name: &str, help: &str, value: u64) -> Result<(), std::fmt::Error> {
        ConstCounter::new(value).encode(self.0.encode_descriptor(name, help, None, MetricType::Counter)?)
    }

    fn counters<'l>(
        &mut self,
        name: &str,
        help: &str,
        values: impl IntoIterator<Item = (Labels<'l>, u64)>,
    ) -> Result<(), std::fmt::Error> {
        let mut family = self.0.encode_descriptor(name, help, None, MetricType::Counter)?;
        for (labels, value) in values {
            ConstCounter::new(value).encode(family.encode_family(&labels)?)?;
        }
        Ok(())
    }
}
