//! Latency distributions: one HdrHistogram for each (service, operation, kind), over all received spans.
//!
//! Each series also has exemplars: traces that show what its percentiles consist of. The number of series is bounded,
//! and spans without a series are counted. Each series also has slots of 5 s for the last hour, or for as much of it
//! as the memory limit allows.

mod encoding;
mod buckets;
mod duration_counts;
mod timeline;
mod sliding_window;
mod hour;
mod slowest;
mod exemplars;
mod hop;
mod group_counts;
mod series;
mod groups;
mod snapshot;

use std::collections::HashMap;
use std::ops::Range;
use std::time::SystemTime;

use foldhash::fast::RandomState;

use crate::store::ExemplarChange;
use crate::trace::{Kind, TraceGroup, TraceId};

pub use exemplars::{Exemplar, Exemplars};
pub(crate) use groups::GroupHops;
pub use hop::{Hop, Summary};
pub(crate) use hour::{SLOT_MS, SLOTS};
pub(crate) use series::Series;
pub(crate) use sliding_window::SlidingWindow;
pub(crate) use snapshot::LatencySnapshot;
pub(crate) use timeline::Slot;

use groups::Groups;
use hour::Hour;

/// Maximum number of series for a large and for a small memory limit.
pub(crate) const MAX_SERIES: usize = 1000;
const MIN_SERIES: usize = 64;

/// Bytes of a series whose durations span a factor of 1000. Durations from nanoseconds to an hour take twice as much.
const SERIES_BYTES: usize = 75_000;

/// Share of the limit for the slots of the last hour, as a divisor; the histograms and exemplars take the rest.
const HOUR_DIVISOR: usize = 4;

/// Maximum bytes of a name; longer ones are truncated. Such names usually contain ids.
const MAX_NAME: usize = 256;

/// Service, operation and kind.
pub(crate) type SeriesKey = (String, String, Kind);

/// The fields of a span that the histograms use.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Measurement<'a> {
    /// The trace of the span, if it is stored.
    pub(crate) trace_id: Option<TraceId>,
    /// The group of the trace, whether or not it is stored.
    pub(crate) group: TraceGroup,
    /// Span name.
    pub(crate) operation: &'a str,
    /// Span kind.
    pub(crate) kind: Kind,
    /// Start in nanoseconds since the epoch.
    pub(crate) start_ns: u64,
    /// End in nanoseconds since the epoch.
    pub(crate) end_ns: u64,
    /// Whether the span failed.
    pub(crate) error: bool,
}

/// The latency distributions of all operations.
#[derive(Debug)]
pub(crate) struct Latencies {
    services: HashMap<Box<str>, ServiceSeries, RandomState>,
    max_series: usize,
    series: usize,
    bytes: usize,
    overflow: u64,
    /// Whether the number of exemplars is reduced.
    fewer_exemplars: bool,
    hour: Hour,
    groups: Groups,
}

/// The slots of some operations, copied.
#[derive(Debug)]
pub(crate) struct RecentCalls {
    /// Slots whose spans are all counted.
    pub(crate) kept: Range<u32>,
    /// Each service and operation with its non-empty slots in the requested range. An operation with two kinds has
    /// two entries.
    pub(crate) operations: Vec<(String, String, Vec<Slot>)>,
}

#[derive(Debug, Default)]
struct ServiceSeries {
    /// By kind, then by operation.
    operations: [HashMap<Box<str>, Series, RandomState>; 6],
}

impl Latencies {
    /// Returns an empty set of series that takes up to about `max_bytes`, and at least [`MIN_SERIES`] series.
    pub(crate) fn new(max_bytes: usize) -> Self {
        let for_hour = max_bytes / HOUR_DIVISOR;
        Self {
            services: HashMap::default(),
            max_series: ((max_bytes - for_hour) / SERIES_BYTES).clamp(MIN_SERIES, MAX_SERIES),
            series: 0,
            bytes: 0,
            overflow: 0,
            fewer_exemplars: false,
            hour: Hour::new(for_hour),
            groups: Groups::default(),
        }
    }

    /// Records spans of one service. Appends to `changes` the traces that became exemplars and those that ceased to
    /// be.
    pub(crate) fn record<'a>(
        &mut self,
        service: &str,
        measurements: impl IntoIterator<Item = Measurement<'a>>,
        changes: &mut Vec<ExemplarChange>,
    ) {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let now_ns = u64::try_from(since.as_nanos()).unwrap_or(u64::MAX);
        self.record_at(now_ns, service, measurements, changes);
    }

    /// Records spans at the time `now_ns`.
    pub(crate) fn record_at<'a>(
        &mut self,
        now_ns: u64,
        service: &str,
        measurements: impl IntoIterator<Item = Measurement<'a>>,
        changes: &mut Vec<ExemplarChange>,
    ) {
        let service = clip(service);
        if !self.services.contains_key(service) {
            // A service without any series would only take memory.
            if self.series >= self.max_series {
                for measurement in measurements {
                    self.overflow += 1;
                    self.groups.count_without_series(measurement.group);
                }
                return;
            }
            self.services.insert(service.into(), ServiceSeries::default());
        }
        let Some(ServiceSeries { operations }) = self.services.get_mut(service) else { return };
        for measurement in measurements {
            let operation = clip(measurement.operation);
            let slot = self.hour.admit(measurement.end_ns, now_ns);
            let grouped = self.groups.contains(measurement.group);
            let series = &mut operations[measurement.kind as usize];
            if let Some(series) = series.get_mut(operation) {
                let before = series.bytes();
                series.record(measurement, changes);
                if grouped {
                    self.groups.record(series, self.max_series, measurement);
                }
                self.bytes += series.bytes() - before;
                if let Some(slot) = slot {
                    series.record_in(slot, measurement, &mut self.hour.bytes);
                }
            } else if self.series < self.max_series
                && let Some(mut new) = Series::new()
            {
                new.record(measurement, changes);
                if grouped {
                    self.groups.record(&mut new, self.max_series, measurement);
                }
                self.bytes += new.bytes();
                if let Some(slot) = slot {
                    new.record_in(slot, measurement, &mut self.hour.bytes);
                }
                series.insert(operation.into(), new);
                self.series += 1;
            } else {
                self.overflow += 1;
                self.groups.count_without_series(measurement.group);
            }
        }
        while let Some(floor) = self.hour.removal_boundary() {
            let timelines = all(&mut self.services).map(|series| {
                series.timeline.remove_before(floor);
                series.timeline.bytes()
            });
            self.hour.removed(floor, timelines.sum());
        }
    }

    /// Returns whether the number of exemplars is reduced.
    pub(crate) fn has_fewer_exemplars(&self) -> bool {
        self.fewer_exemplars
    }

    /// Raises the number of exemplars again.
    pub(crate) fn raise_exemplars(&mut self) {
        self.fewer_exemplars = false;
        for series in all(&mut self.services) {
            self.fewer_exemplars |= series.slowest.grow();
        }
    }

    /// Reduces the number of exemplars: halves those of the operation whose slowest traces take most bytes, so that
    /// large traces do not displace those of other operations. `changes` stays empty if there are no exemplars.
    pub(crate) fn reduce_exemplars(
        &mut self,
        bytes_of: impl Fn(TraceId) -> usize,
        changes: &mut Vec<ExemplarChange>,
    ) {
        self.fewer_exemplars = true;
        let heaviest = all(&mut self.services).max_by_key(|series| series.slowest.trace_bytes(&bytes_of));
        if let Some(series) = heaviest {
            series.slowest.halve(changes);
        }
        if changes.is_empty() {
            all(&mut self.services).for_each(|series| series.clear_exemplars(changes));
        }
    }

    /// Removes exemplars whose traces were evicted for another reason.
    pub(crate) fn remove_exemplars_of(&mut self, evicted: &[TraceId]) {
        if !evicted.is_empty() {
            all(&mut self.services).for_each(|series| series.remove(evicted));
        }
    }

    /// Returns the keys of all series, sorted.
    pub(crate) fn keys(&self) -> Vec<SeriesKey> {
        let owned =
            |(service, operation, kind): (&str, &str, _)| (service.to_owned(), operation.to_owned(), kind);
        let mut keys: Vec<SeriesKey> = self.rows().map(|(key, _)| owned(key)).collect();
        keys.sort_unstable();
        keys
    }

    /// Returns one series.
    pub(crate) fn get(&self, (service, operation, kind): &SeriesKey) -> Option<&Series> {
        let of_service = self.services.get(service.as_str())?;
        of_service.operations[*kind as usize].get(operation.as_str())
    }

    /// Returns the names of all services, sorted.
    pub(crate) fn services(&self) -> Vec<String> {
        let mut services: Vec<String> = self.services.keys().map(|name| name.to_string()).collect();
        services.sort_unstable();
        services
    }

    /// Returns the operations of a service with their kinds, sorted.
    pub(crate) fn operations(&self, service: &str) -> Vec<(String, Kind)> {
        let kinds = self.services.get(service).into_iter().flat_map(ServiceSeries::by_kind);
        let names = kinds.flat_map(|(kind, series)| series.keys().map(move |name| (name.to_string(), kind)));
        let mut operations: Vec<_> = names.collect();
        operations.sort_unstable();
        operations
    }

    /// Copies the slots in this range (5 s each, counted from the epoch) of the operations whose service and kind are
    /// `wanted`; with durations on request.
    pub(crate) fn recent_calls(
        &self,
        slots: &Range<u32>,
        durations: bool,
        wanted: impl Fn(&str, Kind) -> bool,
    ) -> RecentCalls {
        let kept = self.hour.kept();
        let slots = slots.start.max(kept.start)..slots.end.min(kept.end);
        let rows = self.rows().filter(|((service, _, kind), _)| wanted(service, *kind));
        let operations = rows.map(|((service, operation, _), series)| {
            (service.to_owned(), operation.to_owned(), series.timeline.copy(&slots, durations))
        });
        RecentCalls { kept, operations: operations.collect() }
    }

    /// Returns the number of series.
    pub(crate) fn series(&self) -> usize {
        self.series
    }

    /// Returns the size in bytes.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes + self.hour.bytes
    }

    /// Returns the number of spans without a series.
    pub(crate) fn overflow(&self) -> u64 {
        self.overflow
    }

    fn rows(&self) -> impl Iterator<Item = ((&str, &str, Kind), &Series)> {
        self.services.iter().flat_map(|(service, of_service)| {
            of_service.by_kind().flat_map(move |(kind, series)| {
                series.iter().map(move |(operation, series)| ((&**service, &**operation, kind), series))
            })
        })
    }
}

impl ServiceSeries {
    fn by_kind(&self) -> impl Iterator<Item = (Kind, &HashMap<Box<str>, Series, RandomState>)> {
        const KINDS: [Kind; 6] =
            [Kind::Unspecified, Kind::Internal, Kind::Server, Kind::Client, Kind::Producer, Kind::Consumer];
        KINDS.into_iter().zip(&self.operations)
    }
}

fn all(services: &mut HashMap<Box<str>, ServiceSeries, RandomState>) -> impl Iterator<Item = &mut Series> {
    services.values_mut().flat_map(|service| &mut service.operations).flat_map(HashMap::values_mut)
}

/// Returns whether the name of a service or operation is complete; a name of this length may be truncated.
pub(crate) fn is_untruncated(name: &str) -> bool {
    name.len() + 3 < MAX_NAME
}

fn clip(name: &str) -> &str {
    &name[..name.floor_char_boundary(MAX_NAME)]
}

#[cfg(test)]
mod tests;
