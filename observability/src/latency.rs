//! How long each operation takes: one HdrHistogram for each (service, operation, kind), over every span that came in.
//!
//! The number of series is bounded; spans of a series that found no room are counted, never silently left out.

use std::collections::HashMap;

use base64::Engine as _;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::{Serializer as _, V2DeflateSerializer};

use crate::span::Kind;

/// Series kept at most. A wide one takes some 120 kB.
pub const MAX_SERIES: usize = 1000;

/// Longer operation names are cut here; such names carry ids, and nobody reads them in a table.
const MAX_NAME: usize = 256;

/// Longer spans count as this long: an hour.
const MAX_NS: u64 = 3_600_000_000_000;

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
    /// Their durations.
    pub latency_us: Summary,
    /// The whole distribution, HdrHistogram V2 + DEFLATE in base64, if asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub histogram: Option<String>,
    /// What `histogram` counts in: `ns`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit: Option<String>,
}

/// What the histograms need to know of a span.
#[derive(Debug, Clone, Copy)]
pub struct Sample<'a> {
    /// Span name.
    pub operation: &'a str,
    /// Span kind.
    pub kind: Kind,
    /// How long it took.
    pub duration_ns: u64,
    /// Whether it failed.
    pub error: bool,
}

/// All the series.
#[derive(Debug, Default)]
pub struct Latencies {
    services: HashMap<Box<str>, Service>,
    series: usize,
    overflow: u64,
}

#[derive(Debug, Default)]
struct Service {
    /// By kind, then by operation.
    operations: [HashMap<Box<str>, Series>; 6],
}

#[derive(Debug)]
struct Series {
    histogram: Histogram<u32>,
    errors: u64,
}

impl Latencies {
    /// Records spans of one service.
    pub fn record<'a>(&mut self, service: &str, samples: impl IntoIterator<Item = Sample<'a>>) {
        let service = clip(service);
        if !self.services.contains_key(service) {
            // A service without room for a single series would only make the map grow.
            if self.series >= MAX_SERIES {
                self.overflow += samples.into_iter().count() as u64;
                return;
            }
            self.services.insert(service.into(), Service::default());
        }
        let Some(Service { operations }) = self.services.get_mut(service) else { return };
        for sample in samples {
            let operation = clip(sample.operation);
            let series = &mut operations[sample.kind as usize];
            if let Some(series) = series.get_mut(operation) {
                series.record(sample);
            } else if self.series < MAX_SERIES
                && let Some(mut new) = Series::new()
            {
                new.record(sample);
                series.insert(operation.into(), new);
                self.series += 1;
            } else {
                self.overflow += 1;
            }
        }
    }

    /// Every series as a row, by service, operation and kind.
    pub fn hops(&self, histograms: bool) -> Vec<Hop> {
        let mut hops: Vec<Hop> = self.rows().map(|(row, series)| series.hop(row, histograms)).collect();
        hops.sort_by(|a, b| (&a.service, &a.operation, a.kind).cmp(&(&b.service, &b.operation, b.kind)));
        hops
    }

    /// The names of all services, sorted.
    pub fn services(&self) -> Vec<String> {
        let mut services: Vec<String> = self.services.keys().map(|name| name.to_string()).collect();
        services.sort_unstable();
        services
    }

    /// How many series there are.
    pub fn series(&self) -> usize {
        self.series
    }

    /// How many spans found no series with room.
    pub fn overflow(&self) -> u64 {
        self.overflow
    }

    fn rows(&self) -> impl Iterator<Item = ((&str, &str, Kind), &Series)> {
        const KINDS: [Kind; 6] =
            [Kind::Unspecified, Kind::Internal, Kind::Server, Kind::Client, Kind::Producer, Kind::Consumer];
        self.services.iter().flat_map(|(service, Service { operations })| {
            KINDS.into_iter().zip(operations).flat_map(move |(kind, series)| {
                series.iter().map(move |(operation, series)| ((&**service, &**operation, kind), series))
            })
        })
    }
}

impl Series {
    /// `None` never happens: three digits are within HdrHistogram's limits.
    fn new() -> Option<Self> {
        Some(Self { histogram: Histogram::new(3).ok()?, errors: 0 })
    }

    fn record(&mut self, sample: Sample<'_>) {
        // Cannot fail: the histogram resizes itself up to MAX_NS.
        let _ = self.histogram.record(sample.duration_ns.min(MAX_NS));
        self.errors += u64::from(sample.error);
    }

    fn hop(&self, (service, operation, kind): (&str, &str, Kind), histograms: bool) -> Hop {
        let histogram = if histograms { encode(&self.histogram) } else { None };
        Hop {
            service: service.to_owned(),
            operation: operation.to_owned(),
            kind,
            count: self.histogram.len(),
            errors: self.errors,
            latency_us: Summary::of(&self.histogram),
            unit: histogram.is_some().then(|| "ns".to_owned()),
            histogram,
        }
    }
}

fn encode(histogram: &Histogram<u32>) -> Option<String> {
    let mut bytes = Vec::new();
    V2DeflateSerializer::new().serialize(histogram, &mut bytes).ok()?;
    Some(base64::engine::general_purpose::STANDARD.encode(bytes))
}

fn clip(name: &str) -> &str {
    &name[..name.floor_char_boundary(MAX_NAME)]
}

#[cfg(test)]
mod tests {
    use hdrhistogram::serialization::Deserializer;

    use super::*;

    fn sample(operation: &str, duration_ns: u64) -> Sample<'_> {
        Sample { operation, kind: Kind::Server, duration_ns, error: false }
    }

    #[test]
    fn a_hop_counts_and_sums_up_its_spans() {
        let mut latencies = Latencies::default();
        latencies.record("cache", (1..=1000).map(|micros| sample("GET", micros * 1000)));
        latencies.record("cache", [Sample { kind: Kind::Client, error: true, ..sample("GET", 5000) }]);
        let hops = latencies.hops(false);
        assert_eq!(hops.len(), 2, "kinds are apart");
        let server = &hops[0];
        assert_eq!((server.count, server.errors, server.kind), (1000, 0, Kind::Server));
        assert!((server.latency_us.p50 - 500.0).abs() < 1.0, "{server:?}");
        assert!((server.latency_us.p999 - 999.0).abs() < 2.0, "{server:?}");
        assert!((server.latency_us.mean - 500.5).abs() < 1.0, "{server:?}");
        assert_eq!((hops[1].count, hops[1].errors), (1, 1));
        assert_eq!(latencies.services(), ["cache"]);
    }

    #[test]
    fn the_encoded_histogram_is_the_recorded_one() {
        let mut latencies = Latencies::default();
        latencies.record("a", [sample("x", 7), sample("x", 123_456_789)]);
        let hop = latencies.hops(true).remove(0);
        assert_eq!(hop.unit.as_deref(), Some("ns"));
        let bytes = base64::engine::general_purpose::STANDARD.decode(hop.histogram.unwrap()).unwrap();
        let decoded: Histogram<u64> = Deserializer::new().deserialize(&mut bytes.as_slice()).unwrap();
        assert_eq!(decoded.len(), 2);
        assert_eq!(decoded.min(), 7);
        assert_eq!(Summary::of(&decoded), hop.latency_us);
    }

    #[test]
    fn series_are_bounded_and_what_found_no_room_is_counted() {
        let mut latencies = Latencies::default();
        for number in 0..MAX_SERIES + 10 {
            latencies.record("ids", [sample(&format!("GET /{number}"), 1)]);
        }
        assert_eq!((latencies.series(), latencies.overflow()), (MAX_SERIES, 10));
        latencies.record("ids", [sample("GET /0", 1)]);
        assert_eq!(latencies.overflow(), 10, "a known series goes on");
        latencies.record("new service", [sample("x", 1), sample("y", 1)]);
        assert_eq!(latencies.overflow(), 12);
        assert_eq!(latencies.services(), ["ids"]);
    }

    #[test]
    fn absurd_names_and_durations_are_clipped() {
        let mut latencies = Latencies::default();
        let name = "ü".repeat(200);
        latencies.record("a", [sample(&name, u64::MAX)]);
        let hop = latencies.hops(false).remove(0);
        assert_eq!(hop.operation, "ü".repeat(128));
        assert!(hop.latency_us.max < 3.61e9, "{hop:?}");
    }

    #[test]
    fn an_empty_histogram_is_all_zeros() {
        assert_eq!(Summary::of(&Histogram::<u64>::new(3).unwrap()), Summary::default());
    }
}
