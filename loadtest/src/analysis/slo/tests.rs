use std::time::Duration;

use super::*;
use crate::bundle::schema::sample as sample_run;
use crate::measure::{Outcome, Sample, sample};

/// A sample with this latency in milliseconds.
fn of(kind: RequestKind, milliseconds: u64) -> Sample {
    sample(kind, Duration::ZERO, milliseconds * 1_000_000)
}

/// Searches of 1, 2, … 1000 ms and a booking of 5 s.
fn measured() -> Measured {
    let searches = (1..=1000).map(|milliseconds| of(RequestKind::Search, milliseconds));
    Measured { samples: searches.chain([of(RequestKind::Book, 5000)]).collect(), ..Measured::default() }
}

fn evaluate(expression: &str, measured: &Measured) -> schema::SloResult {
    expression.parse::<Slo>().unwrap().evaluate(&sample_run(), measured)
}

#[track_caller]
fn assert_met(expression: &str, met: bool, value: f64) {
    let found = evaluate(expression, &measured());
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
fn takes_every_unit_that_a_report_prints() {
    for (limit, us) in [
        ("50µs", 50.0),
        ("50 μs", 50.0),
        ("50us", 50.0),
        ("950 ns", 0.95),
        ("1.25 ms", 1250.0),
        ("12.3 s", 12.3e6),
        ("2 min", 120e6),
        ("2m", 120e6),
        ("2 min 5 s", 125e6),
        ("3 h 20 min", 12_000e6),
    ] {
        let slo: Slo = format!("p99<{limit}").parse().unwrap();
        assert!((slo.limit * slo.unit.us - us).abs() < us * 1e-9, "{limit}: {slo:?}");
    }
    for ns in [0, 950, 1500, 12_340_000, 59_900_000_000, 125_000_000_000, 12_000_000_000_000] {
        let printed = collector::format::duration(ns);
        let slo: Slo = format!("p99<{printed}").parse().unwrap();
        let limit_ns = slo.limit * slo.unit.us * 1e3;
        assert!((limit_ns - ns as f64).abs() <= ns as f64 * 0.01, "{printed}: {slo:?}");
    }
    assert_eq!(evaluate("GET /search:p50<2 min", &measured()).unit, "min");
}

#[test]
fn requests_without_a_verified_reply_are_infinitely_slow() {
    let mut measured = measured();
    // 50 of 1050 searches are refused at once.
    for n in 0..50 {
        let outcome = if n % 2 == 0 { Outcome::Failed } else { Outcome::Wrong };
        measured.samples.push(Sample { outcome, ..of(RequestKind::Search, 0) });
    }
    let missed = evaluate("GET /search:p99<20s", &measured);
    assert_eq!((missed.met, missed.value), (false, None));
    assert_eq!((missed.requests, missed.unverified), (1050, 50));
    assert!(missed.verified_value.is_some_and(|value| (value - 0.99).abs() < 0.01), "{missed:?}");
    let met = evaluate("GET /search:p90<1s", &measured);
    assert!(met.met && met.value.is_some_and(|value| (value - 0.945).abs() < 0.002), "{met:?}");
    for expression in ["GET /search:max<20s", "GET /search:mean<20s", "p100<20s"] {
        assert!(!evaluate(expression, &measured).met, "{expression}");
    }
    assert!(evaluate("POST /book:p99<6s", &measured).met, "other requests are not affected");
}

#[test]
fn overdue_requests_of_an_interrupted_run_are_infinitely_slow() {
    let mut measured = measured();
    measured.overdue.insert(RequestKind::Book, 1);
    assert!(!evaluate("POST /book:p99<6s", &measured).met);
}

#[test]
fn a_latency_without_any_verified_reply_is_missed() {
    let failed = Sample { outcome: Outcome::Failed, ..of(RequestKind::Search, 1) };
    let measured = Measured { samples: vec![failed], ..Measured::default() };
    let found = evaluate("p99<1s", &measured);
    assert_eq!((found.met, found.value, found.verified_value, found.unverified), (false, None, None, 1));
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
    assert_met("unknown==0", true, 0.0);
    assert_met("overdue==0", true, 0.0);
    assert_met("duplicate==0", true, 0.0);
    assert_met("missing<1", false, 1.0);
    assert_met("completeness>0.99", false, 0.875);
    assert_met("cache_ratio>0.4", true, 0.5);
}

#[test]
fn an_objective_without_measurements_is_missed() {
    let found = evaluate("GET /bookings:p99<1s", &measured());
    assert_eq!((found.value, found.met), (None, false));
}

#[test]
fn explains_invalid_expressions() {
    let cases = [
        ("p99", "no comparison"),
        ("", "no comparison"),
        ("p99=50ms", "no comparison"),
        ("p99<50", "needs a unit"),
        ("p99<50days", "needs a unit"),
        ("p99<1 h 5", "not a number"),
        ("p99<2 min 5 x", "needs a unit"),
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
