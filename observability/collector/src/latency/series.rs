//! One operation's durations, and the traces that show what they are made of.

use hdrhistogram::Histogram;

use super::exemplars::ByBucket;
use super::slowest::Slowest;
use super::state::{SeriesState, decode, encode};
use super::timeline::Timeline;
use super::{Hop, Name, Sample, Summary};
use crate::store::ExemplarChange;
use crate::trace::TraceId;

/// Longer spans count as this long: an hour.
const MAX_NS: u64 = 3_600_000_000_000;

#[derive(Debug)]
pub(crate) struct Series {
    histogram: Histogram<u32>,
    /// All durations together: their mean would take a slow walk through the histogram.
    total_ns: f64,
    errors: u64,
    /// Of the spans whose end a clock like ours can have told, and how many these are.
    first_end_ns: u64,
    last_end_ns: u64,
    timed: u64,
    pub(super) slowest: Slowest,
    exemplars: ByBucket,
    /// What it did in the last hour; of all series together, [`super::hour::Hour`] keeps count of its bytes.
    pub(super) timeline: Timeline,
}

impl Series {
    /// `None` never happens: three digits are within HdrHistogram's limits.
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
        })
    }

    pub(super) fn record(&mut self, sample: Sample<'_>, changes: &mut Vec<ExemplarChange>) {
        let duration_ns = duration_ns(sample);
        // Cannot fail: the histogram resizes itself up to MAX_NS.
        let _ = self.histogram.record(duration_ns);
        self.total_ns += duration_ns as f64;
        self.errors += u64::from(sample.error);
        if let Some(id) = sample.trace_id {
            self.slowest.offer(duration_ns, id, changes);
            self.exemplars.offer(duration_ns, id, changes);
        }
    }

    /// Records it in one of the hour's slots, which together take `bytes`.
    pub(super) fn record_in(&mut self, slot: u32, sample: Sample<'_>, bytes: &mut usize) {
        self.first_end_ns = self.first_end_ns.min(sample.end_ns);
        self.last_end_ns = self.last_end_ns.max(sample.end_ns);
        self.timed += 1;
        let before = self.timeline.bytes();
        self.timeline.record(slot, duration_ns(sample), sample.error);
        *bytes = *bytes + self.timeline.bytes() - before;
    }

    pub(super) fn forget(&mut self, left: &[TraceId]) {
        self.slowest.forget(left);
        self.exemplars.forget(left);
    }

    pub(super) fn forget_exemplars(&mut self, changes: &mut Vec<ExemplarChange>) {
        self.exemplars.forget_all(changes);
    }

    /// Without its slots.
    pub(super) fn bytes(&self) -> usize {
        size_of::<Self>()
            + self.histogram.distinct_values() * size_of::<u32>()
            + self.slowest.bytes()
            + self.exemplars.bytes()
    }

    /// Without its last hour.
    pub(crate) fn copy(&self) -> Self {
        Self {
            histogram: self.histogram.clone(),
            slowest: self.slowest.clone(),
            exemplars: self.exemplars.clone(),
            timeline: Timeline::default(),
            ..*self
        }
    }

    /// As a row of the hops table.
    pub(crate) fn hop(&self, (service, operation, kind): Name, histograms: bool) -> Hop {
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

    pub(super) fn state(&self, (service, operation, kind): Name) -> Option<SeriesState> {
        Some(SeriesState {
            service,
            operation,
            kind,
            histogram: encode(&self.histogram)?,
            total_ns: Some(self.total_ns),
            errors: self.errors,
            first_end_ns: self.first_end_ns,
            last_end_ns: self.last_end_ns,
            timed: self.timed,
            slowest: self.slowest.all(),
            exemplars: self.exemplars.all(),
        })
    }

    /// `None` if the histogram does not decode.
    pub(super) fn restore(state: &SeriesState, telling: &mut Vec<ExemplarChange>) -> Option<Self> {
        let (mut slowest, mut exemplars) = (Slowest::default(), ByBucket::default());
        for (duration_ns, id) in &state.slowest {
            slowest.offer(*duration_ns, *id, telling);
        }
        for (duration_ns, id) in &state.exemplars {
            exemplars.offer(*duration_ns, *id, telling);
        }
        let histogram = decode(&state.histogram)?;
        Some(Self {
            total_ns: state.total_ns.unwrap_or_else(|| histogram.mean() * histogram.len() as f64),
            histogram,
            errors: state.errors,
            first_end_ns: state.first_end_ns,
            last_end_ns: state.last_end_ns,
            timed: state.timed,
            slowest,
            exemplars,
            timeline: Timeline::default(),
        })
    }
}

fn duration_ns(sample: Sample<'_>) -> u64 {
    sample.end_ns.saturating_sub(sample.start_ns).min(MAX_NS)
}
