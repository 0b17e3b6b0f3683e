//! How long each operation takes: one HdrHistogram for each (service, operation, kind), over every span that came in.
//!
//! Each knows some traces that show what its percentiles are made of. The number of series is bounded; spans of a
//! series that found no room are counted, never silently left out. What each did in the last hour is also known five
//! seconds at a time, as far back as there is room for.

mod buckets;
mod counts;
mod exemplars;
mod hour;
mod series;
mod slowest;
mod state;
mod timeline;
mod window;

use std::collections::HashMap;
use std::ops::Range;
use std::time::SystemTime;

use foldhash::fast::RandomState;
use hdrhistogram::Histogram;

use crate::store::ExemplarChange;
use crate::trace::{Kind, TraceId};

pub use exemplars::{Exemplar, Exemplars};
pub(crate) use hour::{SLOT_MS, SLOTS};
pub(crate) use series::Series;
pub(crate) use state::State;
pub(crate) use timeline::Slot;
pub(crate) use window::Window;

use hour::Hour;

/// Series kept at most, however much room there is, and as many as are kept however little there is.
pub const MAX_SERIES: usize = 1000;
const MIN_SERIES: usize = 64;

/// What a series takes when its spans differ a thousandfold. With spans from nanoseconds to an hour it is twice as much.
const SERIES_BYTES: usize = 75_000;

/// The hour's slots get this share of the bound; the rest is the histograms' and their exemplars'.
const HOUR_SHARE: usize = 4;

/// Longer operation names are cut here; such names carry ids, and nobody reads them in a table.
const MAX_NAME: usize = 256;

/// A latency distribution in a few numbers, in microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Default, serde::Serialize, serde::Deserialize)]
pub struct Summary {
    /// Median.
    pub p50: f64,
    /// 90th percentile.
    pub p90: f64,
    /// 99th percentile.
    pub p99: f64,
    /// 99.9th percentile.
    pub p999: f64,
    /// Largest.
    pub max: f64,
    /// Arithmetic mean.
    pub mean: f64,
}

impl Summary {
    /// Sums up a histogram of nanoseconds. All zeros for an empty one.
    pub fn of<C: hdrhistogram::Counter>(histogram: &Histogram<C>) -> Self {
        let micros = |ns: u64| ns as f64 / 1e3;
        let mut quantiles = histogram.value_at_quantiles([0.5, 0.9, 0.99, 0.999]).map(micros);
        let mut next = || quantiles.next().unwrap_or_default();
        let (p50, p90, p99, p999) = (next(), next(), next(), next());
        Self { p50, p90, p99, p999, max: micros(histogram.max()), mean: histogram.mean() / 1e3 }
    }
}

/// One row of the hops table.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Hop {
    /// `service.name`.
    pub service: String,
    /// Span name.
    pub operation: String,
    /// Span kind.
    pub kind: Kind,
    /// Spans seen since the start.
    pub count: u64,
    /// Those among them with an error status.
    pub errors: u64,
    /// Spans a second, from the first one's end to the last one's; 0 if that is no time. Those that came an hour late or
    /// more, or from the future, are left out.
    #[serde(default)]
    pub rate_per_s: f64,
    /// Their durations.
    pub latency_us: Summary,
    /// Traces that show what the percentiles are made of.
    #[serde(default)]
    pub exemplars: Exemplars,
    /// The whole distribution, HdrHistogram V2 + DEFLATE in base64, if asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub histogram: Option<String>,
    /// What `histogram` counts in: `ns`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit: Option<String>,
}

/// Service, operation and kind.
pub(crate) type Name = (String, String, Kind);

/// What the histograms need to know of a span.
#[derive(Debug, Clone, Copy)]
pub struct Sample<'a> {
    /// The trace that it belongs to, if that is kept.
    pub trace_id: Option<TraceId>,
    /// Span name.
    pub operation: &'a str,
    /// Span kind.
    pub kind: Kind,
    /// When it started and ended, nanoseconds since the epoch.
    pub start_ns: u64,
    /// When it ended.
    pub end_ns: u64,
    /// Whether it failed.
    pub error: bool,
}

/// All the series.
#[derive(Debug)]
pub struct Latencies {
    services: HashMap<Box<str>, Service, RandomState>,
    max_series: usize,
    series: usize,
    bytes: usize,
    overflow: u64,
    /// Whether fewer traces are telling than there could be.
    shrunk: bool,
    hour: Hour,
}

/// A copy of what some operations did lately.
#[derive(Debug)]
pub(crate) struct Lately {
    /// The slots of which everything is kept.
    pub(crate) kept: Range<u32>,
    /// Of each service and operation, those slots of the asked-for in which anything ended. One of two kinds comes twice.
    pub(crate) operations: Vec<(String, String, Vec<Slot>)>,
}

#[derive(Debug, Default)]
struct Service {
    /// By kind, then by operation.
    operations: [HashMap<Box<str>, Series, RandomState>; 6],
}

impl Latencies {
    /// Takes about `max_bytes` at most, if that is room for some series.
    pub fn new(max_bytes: usize) -> Self {
        let for_hour = max_bytes / HOUR_SHARE;
        Self {
            services: HashMap::default(),
            max_series: ((max_bytes - for_hour) / SERIES_BYTES).clamp(MIN_SERIES, MAX_SERIES),
            series: 0,
            bytes: 0,
            overflow: 0,
            shrunk: false,
            hour: Hour::new(for_hour),
        }
    }

    /// Records spans of one service. `changes` gets the traces that tell something about it now, and those that no longer do.
    pub(crate) fn record<'a>(
        &mut self,
        service: &str,
        samples: impl IntoIterator<Item = Sample<'a>>,
        changes: &mut Vec<ExemplarChange>,
    ) {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let now_ns = u64::try_from(since.as_nanos()).unwrap_or(u64::MAX);
        self.record_at(now_ns, service, samples, changes);
    }

    /// Records them as if it were `now_ns`.
    pub(crate) fn record_at<'a>(
        &mut self,
        now_ns: u64,
        service: &str,
        samples: impl IntoIterator<Item = Sample<'a>>,
        changes: &mut Vec<ExemplarChange>,
    ) {
        let service = clip(service);
        if !self.services.contains_key(service) {
            // A service without room for a single series would only make the map grow.
            if self.series >= self.max_series {
                self.overflow += samples.into_iter().count() as u64;
                return;
            }
            self.services.insert(service.into(), Service::default());
        }
        let Some(Service { operations }) = self.services.get_mut(service) else { return };
        for sample in samples {
            let operation = clip(sample.operation);
            let slot = self.hour.admit(sample.end_ns, now_ns);
            let series = &mut operations[sample.kind as usize];
            if let Some(series) = series.get_mut(operation) {
                let before = series.bytes();
                series.record(sample, changes);
                self.bytes += series.bytes() - before;
                if let Some(slot) = slot {
                    series.record_in(slot, sample, &mut self.hour.bytes);
                }
            } else if self.series < self.max_series
                && let Some(mut new) = Series::new()
            {
                new.record(sample, changes);
                self.bytes += new.bytes();
                if let Some(slot) = slot {
                    new.record_in(slot, sample, &mut self.hour.bytes);
                }
                series.insert(operation.into(), new);
                self.series += 1;
            } else {
                self.overflow += 1;
            }
        }
        while let Some(floor) = self.hour.leaving() {
            let timelines = all(&mut self.services).map(|series| {
                series.timeline.forget_before(floor);
                series.timeline.bytes()
            });
            self.hour.left(floor, timelines.sum());
        }
    }

    /// Whether fewer traces are telling than there could be.
    pub(crate) fn is_shrunk(&self) -> bool {
        self.shrunk
    }

    /// Lets more traces be telling again.
    pub(crate) fn grow(&mut self) {
        self.shrunk = false;
        for series in all(&mut self.services) {
            self.shrunk |= series.slowest.grow();
        }
    }

    /// Lets fewer traces be telling: half of those of the operation whose slowest weigh most, so that some large ones do not
    /// cost the others theirs. `changes` stays empty when none is left that could go.
    pub(crate) fn shrink(&mut self, weigh: impl Fn(TraceId) -> usize, changes: &mut Vec<ExemplarChange>) {
        self.shrunk = true;
        let heaviest = all(&mut self.services).max_by_key(|series| series.slowest.weight(&weigh));
        if let Some(series) = heaviest {
            series.slowest.halve(changes);
        }
        if changes.is_empty() {
            all(&mut self.services).for_each(|series| series.forget_exemplars(changes));
        }
    }

    /// Forgets what traces that left otherwise than by [`Self::shrink`] had to tell.
    pub(crate) fn forget(&mut self, left: &[TraceId]) {
        if !left.is_empty() {
            all(&mut self.services).for_each(|series| series.forget(left));
        }
    }

    /// The series there are, sorted.
    pub(crate) fn names(&self) -> Vec<Name> {
        let owned =
            |(service, operation, kind): (&str, &str, _)| (service.to_owned(), operation.to_owned(), kind);
        let mut names: Vec<Name> = self.rows().map(|(name, _)| owned(name)).collect();
        names.sort_unstable();
        names
    }

    /// One of them.
    pub(crate) fn get(&self, (service, operation, kind): &Name) -> Option<&Series> {
        let of_service = self.services.get(service.as_str())?;
        of_service.operations[*kind as usize].get(operation.as_str())
    }

    /// The names of all services, sorted.
    pub fn services(&self) -> Vec<String> {
        let mut services: Vec<String> = self.services.keys().map(|name| name.to_string()).collect();
        services.sort_unstable();
        services
    }

    /// The operations of a service, with their kinds, sorted.
    pub fn operations(&self, service: &str) -> Vec<(String, Kind)> {
        let kinds = self.services.get(service).into_iter().flat_map(Service::by_kind);
        let names = kinds.flat_map(|(kind, series)| series.keys().map(move |name| (name.to_string(), kind)));
        let mut operations: Vec<_> = names.collect();
        operations.sort_unstable();
        operations
    }

    /// What happened in these slots, five seconds each and counted from the epoch, in the operations that are `wanted` by
    /// service and kind; the durations only if they are.
    pub(crate) fn lately(
        &self,
        slots: &Range<u32>,
        durations: bool,
        wanted: impl Fn(&str, Kind) -> bool,
    ) -> Lately {
        let kept = self.hour.kept();
        let slots = slots.start.max(kept.start)..slots.end.min(kept.end);
        let rows = self.rows().filter(|((service, _, kind), _)| wanted(service, *kind));
        let operations = rows.map(|((service, operation, _), series)| {
            (service.to_owned(), operation.to_owned(), series.timeline.copy(&slots, durations))
        });
        Lately { kept, operations: operations.collect() }
    }

    /// How many series there are.
    pub fn series(&self) -> usize {
        self.series
    }

    /// What they take.
    pub fn bytes(&self) -> usize {
        self.bytes + self.hour.bytes
    }

    /// How many spans found no series with room.
    pub fn overflow(&self) -> u64 {
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

impl Service {
    fn by_kind(&self) -> impl Iterator<Item = (Kind, &HashMap<Box<str>, Series, RandomState>)> {
        const KINDS: [Kind; 6] =
            [Kind::Unspecified, Kind::Internal, Kind::Server, Kind::Client, Kind::Producer, Kind::Consumer];
        KINDS.into_iter().zip(&self.operations)
    }
}

fn all(services: &mut HashMap<Box<str>, Service, RandomState>) -> impl Iterator<Item = &mut Series> {
    services.values_mut().flat_map(|service| &mut service.operations).flat_map(HashMap::values_mut)
}

/// Whether a series' service or operation is called so in the spans, too: at this length it may be cut.
pub(crate) fn is_whole(name: &str) -> bool {
    name.len() + 3 < MAX_NAME
}

fn clip(name: &str) -> &str {
    &name[..name.floor_char_boundary(MAX_NAME)]
}

#[cfg(test)]
mod tests;
