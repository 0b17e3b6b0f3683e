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
    /// Microseconds in the unit of the limit; 1 for counts.
    unit: f64,
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
}

/// Metrics that exist for the whole run only.
#[derive(Clone, Copy, Debug, PartialEq)]
enum RunMetric {
    Lost,
    Duplicate,
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
const UNITS: [(&str, f64); 4] = [("ns", 1e-3), ("us", 1.0), ("ms", 1e3), ("s", 1e6)];
const COUNTS: [(&str, Count); 6] = [
    ("due", Count::Due),
    ("sent", Count::Sent),
    ("verified", Count::Verified),
    ("wrong", Count::Wrong),
    ("failed", Count::Failed),
    ("late", Count::Late),
];
const RUN_METRICS: [(&str, RunMetric); 6] = [
    ("lost", RunMetric::Lost),
    ("duplicate", RunMetric::Duplicate),
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
    #[error("'{0}' needs a unit: ns, us, ms or s")]
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

fn limit(text: &str, metric: Metric, metric_name: &str) -> Result<(f64, f64), ParseError> {
    let latency = matches!(metric, Metric::Percentile(_) | Metric::Max | Metric::Mean);
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let number: f64 = digits
        .trim()
        .parse()
        .ok()
        .filter(|number: &f64| number.is_finite())
        .ok_or_else(|| ParseError::Limit(text.to_owned()))?;
    let unit = &text[digits.len()..];
    match (UNITS.into_iter().find(|(name, _)| *name == unit), latency) {
        (Some((_, unit)), true) => Ok((number, unit)),
        (None, true) => Err(ParseError::NoUnit(metric_name.to_owned())),
        (None, false) if unit.is_empty() => Ok((number, 1.0)),
        (_, false) => Err(ParseError::Unit(metric_name.to_owned())),
    }
}

impl fmt::Display for Slo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Slo {
    /// Evaluates the objective. Latencies exclude the warm-up; counts include it.
    pub(crate) fn evaluate(&self, run: &Run, measured: &Measured) -> schema::SloResult {
        let value = self.value(run, measured).map(|value| value / self.unit);
        let met = value.is_some_and(|value| match self.comparison {
            Comparison::Less => value < self.limit,
            Comparison::AtMost => value <= self.limit,
            Comparison::Equal => value == self.limit,
            Comparison::AtLeast => value >= self.limit,
            Comparison::More => value > self.limit,
        });
        schema::SloResult { expression: self.text.clone(), value, met }
    }

    fn value(&self, run: &Run, measured: &Measured) -> Option<f64> {
        match self.metric {
            Metric::Count(count) => Some(self.count(run, count) as f64),
            Metric::Run(whole) => Some(whole_run(run, whole)),
            Metric::Percentile(_) | Metric::Max | Metric::Mean => self.latency_us(measured),
        }
    }

    fn latency_us(&self, measured: &Measured) -> Option<f64> {
        let histogram = measured.latency(self.request);
        let summary = Summary::of(&histogram);
        (!histogram.is_empty()).then(|| match self.metric {
            Metric::Max => summary.max,
            Metric::Mean => summary.mean,
            Metric::Percentile(percent) => histogram.value_at_quantile(percent / 100.0) as f64 / 1e3,
            Metric::Count(_) | Metric::Run(_) => 0.0,
        })
    }

    fn count(&self, run: &Run, count: Count) -> u64 {
        let of_row = |row: &Requests| match count {
            Count::Due => row.due,
            Count::Sent => row.sent,
            Count::Verified => row.verified,
            Count::Wrong => row.wrong,
            Count::Failed => row.failed,
            Count::Late => row.late,
        };
        let named = |row: &&Requests| self.request.is_none_or(|name| row.name == name.as_str());
        run.requests.iter().filter(named).map(of_row).sum()
    }
}

fn whole_run(run: &Run, whole: RunMetric) -> f64 {
    match whole {
        RunMetric::Lost => run.bookings.lost as f64,
        RunMetric::Duplicate => run.bookings.duplicate as f64,
        RunMetric::Missing => run.ledger.collected.missing as f64,
        RunMetric::LateShare => run.validity.late_share,
        RunMetric::CacheRatio => run.cache.ratio,
        RunMetric::Completeness => {
            run.ledger.collected.complete as f64 / run.ledger.collected.expected.max(1) as f64
        }
    }
}
