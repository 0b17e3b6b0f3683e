//! The queue's depth and counts, read from the line when Prometheus asks.

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

use super::waiting::Queue;

impl Collector for Queue {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let ((waiting, leased), counts) = {
            let line = self.lock();
            (line.depth(), line.counts())
        };
        for (name, help, value) in [
            ("queue_tasks_waiting", "Tasks that nobody holds", waiting),
            ("queue_tasks_leased", "Tasks that a consumer holds", leased),
        ] {
            let gauge = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX)).encode(gauge)?;
        }
        for (name, help, value) in [
            ("queue_tasks_enqueued", "Tasks taken in", counts.enqueued),
            ("queue_tasks_acknowledged", "Tasks that a consumer was done with", counts.acknowledged),
            ("queue_leases_expired", "Leases that ran out before their holder was done", counts.expired),
        ] {
            let counter = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
            ConstCounter::new(value).encode(counter)?;
        }
        Ok(())
    }
}
