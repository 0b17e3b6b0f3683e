//! The spans of one trace group in one series.

use hdrhistogram::Histogram;

use super::encoding::encode;
use super::exemplars::Exemplars;
use super::hop::{Hop, Summary};
use super::{Measurement, SeriesKey};
use crate::trace::TraceGroup;

#[derive(Debug)]
pub(super) struct GroupCounts {
    group: TraceGroup,
    histogram: Histogram<u32>,
    errors: u64,
}

impl GroupCounts {
    /// Returns empty counts. Never `None`: three digits are within HdrHistogram's limits.
    pub(super) fn new(group: TraceGroup) -> Option<Self> {
        Some(Self { group, histogram: Histogram::new(3).ok()?, errors: 0 })
    }

    pub(super) fn group(&self) -> TraceGroup {
        self.group
    }

    pub(super) fn record(&mut self, measurement: Measurement<'_>) {
        // Does not fail: the value is bounded, and the histogram resizes itself.
        let _ = self.histogram.record(measurement.duration_ns());
        self.errors += u64::from(measurement.error);
    }

    pub(super) fn bytes(&self) -> usize {
        size_of::<Self>() + self.histogram.distinct_values() * size_of::<u32>()
    }

    /// Returns the row of the hops table, without exemplars and rate.
    pub(super) fn hop(&self, (service, operation, kind): SeriesKey, histograms: bool) -> Hop {
        let histogram = if histograms { encode(&self.histogram) } else { None };
        Hop {
            service,
            operation,
            kind,
            count: self.histogram.len(),
            errors: self.errors,
            rate_per_s: 0.0,
            latency_us: Summary::of(&self.histogram),
            exemplars: Exemplars::default(),
            unit: histogram.is_some().then(|| "ns".to_owned()),
            histogram,
        }
    }
}
