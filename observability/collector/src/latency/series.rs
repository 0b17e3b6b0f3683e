//! One series: the durations of one operation, and its exemplars.

use hdrhistogram::Histogram;

use super::encoding::encode;
use super::exemplars::ByBucket;
use super::group_counts::GroupCounts;
use super::hop::{Hop, Summary};
use super::slowest::Slowest;
use super::timeline::Timeline;
use super::{Measurement, SeriesKey};
use crate::store::ExemplarChange;
use crate::trace::{TraceId, duration_ns};

/// Maximum recorded duration: an hour.
const MAX_NS: u64 = 3_600_000_000_000;

#[derive(Debug)]
pub(crate) struct Series {
    pub(super) histogram: Histogram<u32>,
    /// Sum of all durations. The mean of the histogram would take a slow iteration.
    pub(super) total_ns: f64,
    pub(super) errors: u64,
    /// Range of the end times, and the number of spans with a plausible end time.
    pub(super) first_end_ns: u64,
    pub(super) last_end_ns: u64,
    pub(super) timed: u64,
    pub(super) slowest: Slowest,
    pub(super) exemplars: ByBucket,
    /// The last hour. [`super::hour::Hour`] tracks the bytes of all timelines.
    pub(super) timeline: Timeline,
    /// The spans of registered groups.
    pub(super) groups: Vec<GroupCounts>,
}

impl Series {
    /// Returns an empty series. Never `None`: three digits are within HdrHistogram's limits.
    pub(super) fn new() -> Option<Self> {
        Some(Self {
            histogram: Histogram::new(3).ok()?,
            total_ns: 0.0,
            errors: 0,
            first_end_ns: u64::MAX,
            last_end_ns: 0,
            timed: 0,
            slowest: Slowest::default(),
            exemplars: ByBucket::default(),
            timeline: Timeline::default(),
            groups: Vec::new(),
        })
    }

    pub(super) fn record(&mut self, measurement: Measurement<'_>, changes: &mut Vec<ExemplarChange>) {
        let duration_ns = measurement.duration_ns();
        // Does not fail: the value is at most MAX_NS, and the histogram resizes itself.
        let _ = self.histogram.record(duration_ns);
        self.total_ns += duration_ns as f64;
        self.errors += u64::from(measurement.error);
        if let Some(id) = measurement.trace_id {
            self.slowest.offer(duration_ns, id, changes);
            self.exemplars.offer(duration_ns, id, changes);
        }
    }

    /// Records a span in a slot, and updates the `bytes` of all slots.
    pub(super) fn record_in(&mut self, slot: u32, measurement: Measurement<'_>, bytes: &mut usize) {
        self.first_end_ns = self.first_end_ns.min(measurement.end_ns);
        self.last_end_ns = self.last_end_ns.max(measurement.end_ns);
        self.timed += 1;
        let before = self.timeline.bytes();
        self.timeline.record(slot, measurement.duration_ns(), measurement.error);
        *bytes = *bytes + self.timeline.bytes() - before;
    }

    pub(super) fn remove(&mut self, evicted: &[TraceId]) {
        self.slowest.remove(evicted);
        self.exemplars.remove(evicted);
    }

    pub(super) fn clear_exemplars(&mut self, changes: &mut Vec<ExemplarChange>) {
        self.exemplars.clear(changes);
    }

    /// Returns the size in bytes, without the slots.
    pub(super) fn bytes(&self) -> usize {
        size_of::<Self>()
            + self.histogram.distinct_values() * size_of::<u32>()
            + self.slowest.bytes()
            + self.exemplars.bytes()
            + self.groups.iter().map(GroupCounts::bytes).sum::<usize>()
    }

    /// Returns a copy without the last hour and the groups.
    pub(crate) fn copy(&self) -> Self {
        Self {
            histogram: self.histogram.clone(),
            slowest: self.slowest.clone(),
            exemplars: self.exemplars.clone(),
            timeline: Timeline::default(),
            groups: Vec::new(),
            ..*self
        }
    }

    /// Returns the row of the hops table.
    pub(crate) fn hop(&self, (service, operation, kind): SeriesKey, histograms: bool) -> Hop {
        let histogram = if histograms { encode(&self.histogram) } else { None };
        let mut percentiles_ns = [0; 4];
        let values = self.histogram.value_at_quantiles([0.5, 0.9, 0.99, 0.999]);
        percentiles_ns.iter_mut().zip(values).for_each(|(percentile, value)| *percentile = value);
        let seconds = self.last_end_ns.saturating_sub(self.first_end_ns) as f64 / 1e9;
        Hop {
            service,
            operation,
            kind,
            count: self.histogram.len(),
            errors: self.errors,
            rate_per_s: if seconds > 0.0 { self.timed.saturating_sub(1) as f64 / seconds } else { 0.0 },
            latency_us: self.summary(percentiles_ns),
            exemplars: self.exemplars.at_percentiles(percentiles_ns, &self.slowest),
            unit: histogram.is_some().then(|| "ns".to_owned()),
            histogram,
        }
    }

    fn summary(&self, percentiles_ns: [u64; 4]) -> Summary {
        let [p50, p90, p99, p999] = percentiles_ns.map(|ns| ns as f64 / 1e3);
        let mean = self.total_ns / self.histogram.len().max(1) as f64 / 1e3;
        Summary { p50, p90, p99, p999, max: self.histogram.max() as f64 / 1e3, mean }
    }
}

impl Measurement<'_> {
    /// Returns the duration, at most [`MAX_NS`].
    pub(super) fn duration_ns(self) -> u64 {
        duration_ns(self.start_ns, self.end_ns).min(MAX_NS)
    }
}
