//! Metrics of the queue, read when Prometheus scrapes them.

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

use super::storage::Storage;

/// Reads the figures of a storage.
#[derive(Debug)]
pub(super) struct QueueMetrics<S>(pub(super) S);

impl<S: Storage> Collector for QueueMetrics<S> {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let (depth, counts) = self.0.figures();
        for (name, help, value) in [
            (
                "queue_tasks_waiting",
                "Number of tasks that are to be leased, delayed ones included",
                depth.waiting,
            ),
            ("queue_tasks_leased", "Number of tasks that are leased", depth.leased),
            ("queue_tasks_dead", "Number of dead letters: tasks whose attempts are used up", depth.dead),
            ("queue_size_bytes", "Approximate size of all tasks in bytes", depth.bytes),
        ] {
            let gauge = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX)).encode(gauge)?;
        }
        for (name, help, value) in [
            ("queue_tasks_enqueued", "Tasks enqueued", counts.enqueued),
            (
                "queue_duplicates",
                "Tasks that were not enqueued because the queue held a task of their event",
                counts.duplicates,
            ),
            ("queue_attempts", "Leases of tasks", counts.attempts),
            ("queue_tasks_acknowledged", "Tasks acknowledged by a consumer", counts.acknowledged),
            (
                "queue_leases_expired",
                "Leases that expired before their task was acknowledged",
                counts.expired,
            ),
            (
                "queue_stale_acks",
                "Acknowledgements and returns refused because their lease had expired",
                counts.stale,
            ),
        ] {
            let counter = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
            ConstCounter::new(value).encode(counter)?;
        }
        Ok(())
    }
}
