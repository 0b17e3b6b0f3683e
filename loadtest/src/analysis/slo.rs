//! Service level objectives: `[REQUEST:]METRIC OP NUMBER[UNIT]`, such as `GET /search:p99.9<80ms` or `failed<1`.

use std::fmt;
use std::str::FromStr;

use collector::latency::Summary;

use crate::bundle::schema::{self, Requests, Run};
use crate::measure::{Measured, RequestKind};

#[cfg(test)]
mod tests;

/// A parsed objective.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Slo {
    text: String,
    request: Option<RequestKind>,
    metric: Metric,
    comparison: Comparison,
    limit: f64,
    unit: Unit,
}

/// The unit of a limit.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Unit {
    /// As given; empty for counts.
    name: &'static str,
    /// Microseconds in the unit; 1 for counts.
    us: f64,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Metric {
    Percentile(f64),
    Max,
    Mean,
    Count(Count),
    Run(RunMetric),
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Count {
    Due,
    Sent,
    Verified,
    Wrong,
    Failed,
    Late,
    Overdue,
}

/// Metrics that exist for the whole run only.
#[derive(Clone, Copy, Debug, PartialEq)]
enum RunMetric {
    Lost,
    Unknown,
    Duplicate,
    Parked,
    DoubleBooked,
    Missing,
    LateShare,
    CacheRatio,
    Completeness,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Comparison {
    Less,
    AtMost,
    Equal,
    AtLeast,
    More,
}

/// Longer operators come first, because `<=` begins with `<`.
const COMPARISONS: [(&str, Comparison); 5] = [
    ("<=", Comparison::AtMost),
    (">=", Comparison::AtLeast),
    ("==", Comparison::Equal),
    ("<", Comparison::Less),
    (">", Comparison::More),
];
const NO_UNIT: Unit = Unit { name: "", us: 1.0 };
/// Every unit that a report prints, and how else it is written. The micro sign exists twice in Unicode.
const UNITS: [(&str, f64); 9] = [
    ("ns", 1e-3),
    ("us", 1.0),
    ("µs", 1.0),
    ("μs", 1.0),
    ("ms", 1e3),
    ("s", 1e6),
    ("min", 6e7),
    ("m", 6e7),
    ("h", 3.6e9),
];
const COUNTS: [(&str, Count); 7] = [
    ("due", Count::Due),
    ("sent", Count::Sent),
    ("verified", Count::Verified),
    ("wrong", Count::Wrong),
    ("failed", Count::Failed),
    ("late", Count::Late),
    ("overdue", Count::Overdue),
];
const RUN_METRICS: [(&str, RunMetric); 9] = [
    ("lost", RunMetric::Lost),
    ("unknown", RunMetric::Unknown),
    ("duplicate", RunMetric::Duplicate),
    ("parked", RunMetric::Parked),
    ("double_booked", RunMetric::DoubleBooked),
    ("missing", RunMetric::Missing),
    ("late_share", RunMetric::LateShare),
    ("cache_ratio", RunMetric::CacheRatio),
    ("completeness", RunMetric::Completeness),
];

/// An error in the expression of an objective.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ParseError {
    /// The expression has no comparison.
    #[error("no comparison; examples of objectives: 'p99<50ms', 'GET /search:p99.9<80ms', 'failed<1'")]
    NoComparison,
    /// The request kind is unknown.
    #[error("unknown request '{0}'; known requests: {names}", names = RequestKind::ALL.map(RequestKind::as_str).join(", "))]
    Request(String),
    /// The metric is unknown.
    #[error(
        "unknown metric '{0}'; known metrics: p50, p99.9 and other percentiles, max, mean, {counts}, and for the whole run {run}",
        counts = COUNTS.map(|(name, _)| name).join(", "),
        run = RUN_METRICS.map(|(name, _)| name).join(", ")
    )]
    Metric(String),
    /// A metric of the whole run was combined with a request.
    #[error("'{0}' exists for the whole run only, not for one request")]
    WholeRun(String),
    /// The limit is not a number.
    #[error("'{0}' is not a number")]
    Limit(String),
    /// A latency has no unit.
    #[error("'{0}' needs a unit: ns, us, µs, ms, s, min or h")]
    NoUnit(String),
    /// A count has a unit.
    #[error("'{0}' takes a number without a unit")]
    Unit(String),
}

impl FromStr for Slo {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let at = text.find(['<', '>', '=']).ok_or(ParseError::NoComparison)?;
        let (left, right) = text.split_at(at);
        let (operator, comparison) = COMPARISONS
            .into_iter()
            .find(|(operator, _)| right.starts_with(operator))
            .ok_or(ParseError::NoComparison)?;
        let (request, metric_name) = match left.rsplit_once(':') {
            Some((request, metric)) => (Some(request_named(request.trim())?), metric.trim()),
            None => (None, left.trim()),
        };
        let metric = metric_named(metric_name)?;
        if request.is_some() && matches!(metric, Metric::Run(_)) {
            return Err(ParseError::WholeRun(metric_name.to_owned()));
        }
        let (limit, unit) = limit(right[operator.len()..].trim(), metric, metric_name)?;
        Ok(Slo { text: text.to_owned(), request, metric, comparison, limit, unit })
    }
}

fn request_named(request: &str) -> Result<RequestKind, ParseError> {
    RequestKind::ALL
        .into_iter()
        .find(|name| name.as_str() == request)
        .ok_or_else(|| ParseError::Request(request.to_owned()))
}

fn metric_named(metric: &str) -> Result<Metric, ParseError> {
    if let Some((_, count)) = COUNTS.into_iter().find(|(name, _)| *name == metric) {
        return Ok(Metric::Count(count));
    }
    if let Some((_, whole)) = RUN_METRICS.into_iter().find(|(name, _)| *name == metric) {
        return Ok(Metric::Run(whole));
    }
    match metric {
        "max" => return Ok(Metric::Max),
        "mean" => return Ok(Metric::Mean),
        "p999" => return Ok(Metric::Percentile(99.9)),
        _ => {}
    }
    metric
        .strip_prefix('p')
        .and_then(|percent| percent.parse().ok())
        .filter(|percent| (0.0..=100.0).contains(percent))
        .map(Metric::Percentile)
        .ok_or_else(|| ParseError::Metric(metric.to_owned()))
}

fn limit(text: &str, metric: Metric, metric_name: &str) -> Result<(f64, Unit), ParseError> {
    let latency = matches!(metric, Metric::Percentile(_) | Metric::Max | Metric::Mean);
    // Reports print long durations as two numbers, such as `2 min 5 s`.
    if latency && let [big, big_unit, small, small_unit] = text.split_whitespace().collect::<Vec<_>>()[..] {
        let (big, unit) = number_with_unit(&format!("{big}{big_unit}"), latency, metric_name)?;
        let (small, small_unit) = number_with_unit(&format!("{small}{small_unit}"), latency, metric_name)?;
        return Ok((big + small * small_unit.us / unit.us, unit));
    }
    number_with_unit(text, latency, metric_name)
}

fn number_with_unit(text: &str, latency: bool, metric_name: &str) -> Result<(f64, Unit), ParseError> {
    let digits = text.trim_end_matches(char::is_alphabetic);
    let number: f64 = digits
        .trim()
        .parse()
        .ok()
        .filter(|number: &f64| number.is_finite())
        .ok_or_else(|| ParseError::Limit(text.to_owned()))?;
    let unit = &text[digits.len()..];
    match (UNITS.into_iter().find(|(name, _)| *name == unit), latency) {
        (Some((name, us)), true) => Ok((number, Unit { name, us })),
        (None, true) => Err(ParseError::NoUnit(metric_name.to_owned())),
        (None, false) if unit.is_empty() => Ok((number, NO_UNIT)),
        (_, false) => Err(ParseError::Unit(metric_name.to_owned())),
    }
}

/// The value of a metric.
struct Measurement {
    /// Infinite if requests without a verified reply decide it; `None` if nothing was measured.
    value: Option<f64>,
    /// Latency of the verified replies alone; `None` for other metrics.
    verified: Option<f64>,
    /// Number of requests that a latency covers; 0 for other metrics.
    requests: u64,
    /// Number of these requests without a verified reply.
    unverified: u64,
}

impl fmt::Display for Slo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Slo {
    /// Evaluates the objective. Latencies exclude the warm-up; counts include it. A request without a verified reply counts
    /// as infinitely slow: a system that refuses half of the requests quickly is not a fast one.
    pub(crate) fn evaluate(&self, run: &Run, measured: &Measured) -> schema::SloResult {
        let measurement = self.measure(run, measured);
        let in_unit = |us: f64| us / self.unit.us;
        let value = measurement.value.map(in_unit);
        let met = value.is_some_and(|value| match self.comparison {
            Comparison::Less => value < self.limit,
            Comparison::AtMost => value <= self.limit,
            Comparison::Equal => value == self.limit,
            Comparison::AtLeast => value >= self.limit,
            Comparison::More => value > self.limit,
        });
        schema::SloResult {
            expression: self.text.clone(),
            // JSON has no infinity.
            value: value.filter(|value| value.is_finite()),
            unit: self.unit.name.to_owned(),
            verified_value: measurement.verified.map(in_unit),
            requests: measurement.requests,
            unverified: measurement.unverified,
            met,
        }
    }

    fn measure(&self, run: &Run, measured: &Measured) -> Measurement {
        let plain =
            |value: f64| Measurement { value: Some(value), verified: None, requests: 0, unverified: 0 };
        match self.metric {
            Metric::Count(count) => plain(self.count(run, count) as f64),
            Metric::Run(whole) => plain(whole_run(run, whole)),
            Metric::Percentile(_) | Metric::Max | Metric::Mean => self.latency_us(measured),
        }
    }

    fn latency_us(&self, measured: &Measured) -> Measurement {
        let histogram = measured.latency(self.request);
        let (verified, unverified) = (histogram.len(), measured.unverified(self.request));
        let requests = verified + unverified;
        let summary = Summary::of(&histogram);
        let at = |rank: u64| {
            // Half a rank below, because the histogram rounds the product of both up.
            let quantile = (rank as f64 - 0.5) / verified.max(1) as f64;
            histogram.value_at_quantile(quantile) as f64 / 1e3
        };
        let of_all = match self.metric {
            Metric::Percentile(percent) => {
                let rank = rank(percent, requests);
                if rank > verified { f64::INFINITY } else { at(rank) }
            }
            Metric::Max | Metric::Mean if unverified > 0 => f64::INFINITY,
            Metric::Mean => summary.mean,
            _ => summary.max,
        };
        let of_verified = match self.metric {
            Metric::Percentile(percent) => at(rank(percent, verified)),
            Metric::Mean => summary.mean,
            _ => summary.max,
        };
        Measurement {
            value: (requests > 0).then_some(of_all),
            verified: (verified > 0).then_some(of_verified),
            requests,
            unverified,
        }
    }

    fn count(&self, run: &Run, count: Count) -> u64 {
        let of_row = |row: &Requests| match count {
            Count::Due => row.due,
            Count::Sent => row.sent,
            Count::Verified => row.verified,
            Count::Wrong => row.wrong,
            Count::Failed => row.failed,
            Count::Late => row.late,
            Count::Overdue => row.overdue,
        };
        let named = |row: &&Requests| self.request.is_none_or(|name| row.name == name.as_str());
        run.requests.iter().filter(named).map(of_row).sum()
    }
}

/// Returns the rank of a percentile among `count` values, from 1.
fn rank(percent: f64, count: u64) -> u64 {
    // Without the small difference, 99.9 % of 1000 would be a little more than 999.
    ((percent / 100.0 * count as f64 - 1e-9).ceil() as u64).max(1)
}

fn whole_run(run: &Run, whole: RunMetric) -> f64 {
    match whole {
        RunMetric::Lost => run.bookings.lost as f64,
        RunMetric::Unknown => run.bookings.unknown as f64,
        RunMetric::Duplicate => run.bookings.duplicate as f64,
        RunMetric::Parked => run.bookings.parked as f64,
        RunMetric::DoubleBooked => run.bookings.double_booked as f64,
        RunMetric::Missing => run.ledger.collected.missing as f64,
        RunMetric::LateShare => run.validity.late_share,
        RunMetric::CacheRatio => run.cache.ratio,
        RunMetric::Completeness => {
            run.ledger.collected.complete as f64 / run.ledger.collected.expected.max(1) as f64
        }
    }
}
