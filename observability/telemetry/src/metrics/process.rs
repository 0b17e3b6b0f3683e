//! CPU time and memory of this process, read from /proc. On systems other than Linux these metrics are absent.
//!
//! The `process` collector of the prometheus crate was considered: prometheus-client has none, and a second metrics crate
//! for two values is not worth its build time.

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

/// Clock ticks a second (`USER_HZ`) and page size on x86-64 Linux and on most arm64 systems.
const TICKS_PER_SECOND: f64 = 100.0;
const PAGE_BYTES: i64 = 4096;

#[derive(Debug)]
pub(super) struct ProcessMetrics;

impl Collector for ProcessMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        if let Some(seconds) = cpu_seconds() {
            let cpu = encoder.encode_descriptor(
                "process_cpu_seconds",
                "Total user and system CPU time spent",
                None,
                MetricType::Counter,
            )?;
            ConstCounter::new(seconds).encode(cpu)?;
        }
        if let Some(bytes) = resident_bytes() {
            let memory = encoder.encode_descriptor(
                "process_resident_memory_bytes",
                "Resident memory size",
                None,
                MetricType::Gauge,
            )?;
            ConstGauge::new(bytes).encode(memory)?;
        }
        Ok(())
    }
}

/// Returns the sum of the fields 14 and 15 of /proc/self/stat, see proc(5). Counts from the closing bracket of field 2,
/// because the name in it may contain spaces.
fn cpu_seconds() -> Option<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let (user, system): (f64, f64) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    Some((user + system) / TICKS_PER_SECOND)
}

fn resident_bytes() -> Option<i64> {
    let statm = std::fs::read_to_string("/proc/self/statm").ok()?;
    let pages: i64 = statm.split_whitespace().nth(1)?.parse().ok()?;
    Some(pages * PAGE_BYTES)
}
