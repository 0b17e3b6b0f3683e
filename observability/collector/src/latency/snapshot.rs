//! The file format of the histograms.

use serde::{Deserialize, Serialize};

use super::encoding::{decode, encode};
use super::exemplars::ByBucket;
use super::series::Series;
use super::slowest::Slowest;
use super::timeline::Timeline;
use super::{Latencies, MAX_SERIES, SeriesKey};
use crate::store::ExemplarChange;
use crate::trace::{Kind, TraceId};

/// All series.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct LatencySnapshot {
    series: Vec<SeriesSnapshot>,
    overflow: u64,
}

/// One series.
#[derive(Debug, Serialize, Deserialize)]
struct SeriesSnapshot {
    service: String,
    operation: String,
    kind: Kind,
    /// Nanoseconds; HdrHistogram V2 + DEFLATE in base64.
    histogram: String,
    /// Absent in older files.
    total_ns: Option<f64>,
    errors: u64,
    first_end_ns: u64,
    last_end_ns: u64,
    timed: u64,
    /// Durations in nanoseconds and traces of the slowest.
    slowest: Vec<(u64, TraceId)>,
    /// Durations in nanoseconds and traces of the buckets' exemplars.
    exemplars: Vec<(u64, TraceId)>,
}

/// An error in a snapshot.
#[derive(Debug, thiserror::Error)]
pub(crate) enum InvalidSnapshot {
    #[error("histogram of {0:?} does not decode")]
    Histogram(String),
    #[error("more than {MAX_SERIES} histograms, or more than their memory limit")]
    TooMany,
}

impl LatencySnapshot {
    /// Returns the snapshot of these series.
    pub(crate) fn of(series: impl Iterator<Item = (SeriesKey, Series)>, overflow: u64) -> Self {
        Self { series: series.filter_map(|(name, series)| series.snapshot(name)).collect(), overflow }
    }
}

impl Latencies {
    /// Restores the series within `max_bytes`. Also returns the exemplars, as changes.
    pub(crate) fn restore(
        snapshot: LatencySnapshot,
        max_bytes: usize,
    ) -> Result<(Self, Vec<ExemplarChange>), InvalidSnapshot> {
        if snapshot.series.len() > MAX_SERIES {
            return Err(InvalidSnapshot::TooMany);
        }
        let mut latencies = Self::new(usize::MAX);
        latencies.overflow = snapshot.overflow;
        let mut changes = Vec::new();
        for entry in snapshot.series {
            let series = Series::restore(&entry, &mut changes)
                .ok_or_else(|| InvalidSnapshot::Histogram(entry.operation.clone()))?;
            latencies.bytes += series.bytes();
            if latencies.bytes > max_bytes {
                return Err(InvalidSnapshot::TooMany);
            }
            latencies.series += 1;
            let service = latencies.services.entry(entry.service.into()).or_default();
            service.operations[entry.kind as usize].insert(entry.operation.into(), series);
        }
        Ok((latencies, changes))
    }
}

impl Series {
    fn snapshot(&self, (service, operation, kind): SeriesKey) -> Option<SeriesSnapshot> {
        Some(SeriesSnapshot {
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

    /// Restores a series; `None` if the histogram does not decode.
    fn restore(snapshot: &SeriesSnapshot, changes: &mut Vec<ExemplarChange>) -> Option<Self> {
        let (mut slowest, mut exemplars) = (Slowest::default(), ByBucket::default());
        for (duration_ns, id) in &snapshot.slowest {
            slowest.offer(*duration_ns, *id, changes);
        }
        for (duration_ns, id) in &snapshot.exemplars {
            exemplars.offer(*duration_ns, *id, changes);
        }
        let histogram = decode(&snapshot.histogram)?;
        Some(Self {
            total_ns: snapshot.total_ns.unwrap_or_else(|| histogram.mean() * histogram.len() as f64),
            histogram,
            errors: snapshot.errors,
            first_end_ns: snapshot.first_end_ns,
            last_end_ns: snapshot.last_end_ns,
            timed: snapshot.timed,
            slowest,
            exemplars,
            timeline: Timeline::default(),
            groups: Vec::new(),
        })
    }
}
