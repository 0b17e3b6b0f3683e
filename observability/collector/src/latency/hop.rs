//! The rows of the hops table.

use hdrhistogram::Histogram;

use super::exemplars::Exemplars;
use crate::trace::Kind;

/// A latency distribution in a few figures, in microseconds.
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
    /// Summarizes a histogram of nanoseconds. All zeros for an empty one.
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
    /// Spans received since the start.
    pub count: u64,
    /// Spans with an error status.
    pub errors: u64,
    /// Spans per second between the ends of the first and the last span; 0 if they are equal. Spans that arrived an
    /// hour late or more, or from the future, do not count.
    #[serde(default)]
    pub rate_per_s: f64,
    /// Durations of the spans.
    pub latency_us: Summary,
    /// Traces at the percentiles.
    #[serde(default)]
    pub exemplars: Exemplars,
    /// The whole distribution as HdrHistogram V2 + DEFLATE in base64, on request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub histogram: Option<String>,
    /// The unit of `histogram`: `ns`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit: Option<String>,
}
