use std::time::Duration;

use collector::trace::TraceId;

use super::*;
use crate::bundle::schema::sample;
use crate::measure::{DelayCause, Outcome, Sample};

/// Searches of 1, 2, … 1000 ms and a booking of 5 s.
fn measured() -> Measured {
    let of = |kind, milliseconds: u64| Sample {
        kind,
        warm_up: false,
        outcome: Outcome::Verified,
        delay_cause: DelayCause::Generator,
        due: Duration::ZERO,
        late_ns: 0,
        latency_ns: milliseconds * 1_000_000,
        service_ns: milliseconds * 1_000_000,
        trace: TraceId(1),
        sampled: true,
    };
    let searches = (1..=1000).map(|milliseconds| of(RequestKind::Search, milliseconds));
    Measured { samples: searches.chain([of(RequestKind::Book, 5000)]).collect(), ..Measured::default() }
}

#[track_caller]
fn assert_met(expression: &str, met: bool, value: f64) {
    let slo: Slo = expression.parse().unwrap();
    let found = slo.evaluate(&sample(), &measured());
    assert_eq!(found.met, met, "{found:?}");
    // The histogram keeps three significant digits.
    assert!((found.value.unwrap() - value).abs() <= value * 0.002, "{found:?}");
    assert_eq!(found.expression, expression);
}

#[test]
fn compares_latencies_in_the_unit_of_the_limit() {
    assert_met("GET /search:p50<501ms", true, 500.0);
    assert_met("GET /search:p50<=0.4s", false, 0.5);
    assert_met("GET /search:p99.9<1.01s", true, 0.999);
    assert_met("GET /search:p999<1010ms", true, 999.0);
    assert_met("p99.99>4900000us", true, 5e6);
    assert_met("GET /search:max < 1001 ms", true, 1000.0);
    assert_met("POST /book:mean>=4.9s", true, 5.0);
    assert_met("GET /search:p10<100000000ns", false, 100_000_000.0);
}

#[test]
fn compares_counts_and_run_metrics_without_unit() {
    assert_met("wrong==0", false, 1.0);
    assert_met("POST /book:wrong==0", true, 0.0);
    assert_met("failed<1", true, 0.0);
    assert_met("verified>=7", true, 7.0);
    assert_met("POST /token:due==5", true, 5.0);
    assert_met("late_share<0.05", true, 0.02);
    assert_met("lost==0", true, 0.0);
    assert_met("duplicate==0", true, 0.0);
    assert_met("missing<1", false, 1.0);
    assert_met("completeness>0.99", false, 0.875);
    assert_met("cache_ratio>0.4", true, 0.5);
}

#[test]
fn an_objective_without_measurements_is_missed() {
    let slo: Slo = "GET /bookings:p99<1s".parse().unwrap();
    let found = slo.evaluate(&sample(), &measured());
    assert_eq!((found.value, found.met), (None, false));
}

#[test]
fn explains_invalid_expressions() {
    let cases = [
        ("p99", "no comparison"),
        ("", "no comparison"),
        ("p99=50ms", "no comparison"),
        ("p99<50", "needs a unit"),
        ("p99<50min", "needs a unit"),
        ("p99<fast", "not a number"),
        ("p99<", "not a number"),
        ("p99<infs", "not a number"),
        ("p101<1s", "unknown metric"),
        ("px<1s", "unknown metric"),
        ("speed<1s", "unknown metric"),
        ("wrong<1ms", "without a unit"),
        ("wrong<1x", "without a unit"),
        ("GET /find:p99<1s", "unknown request 'GET /find'"),
        ("GET /search:late_share<1", "whole run"),
    ];
    for (expression, part) in cases {
        let error = expression.parse::<Slo>().unwrap_err().to_string();
        assert!(error.contains(part), "{expression}: {error}");
    }
}
