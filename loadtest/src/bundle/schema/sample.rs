//! A sample run for tests.

use chrono::DateTime;
use collector::blame::clock_skew::ClockSkew;

use super::*;

/// Returns a run of two searches, one of them wrong, and one booking.
pub(crate) fn sample() -> Run {
    let summary = Summary { p50: 1000.0, p90: 2000.0, p99: 3000.0, p999: 4000.0, max: 5000.0, mean: 1500.0 };
    let row = |name: &str, phase, verified, wrong| Requests {
        name: name.into(),
        phase,
        due: verified + wrong,
        sent: verified + wrong,
        verified,
        conflicts: 0,
        wrong,
        failed: 0,
        late: 1,
        overdue: 0,
        retries: 0,
        latency_us: Some(summary),
        service_us: Some(summary),
        unverified_us: (wrong > 0).then_some(summary),
    };
    Run {
        schema: SCHEMA,
        started_at: DateTime::UNIX_EPOCH,
        duration_s: 20.0,
        git: Some("abcdef".into()),
        seed: 7,
        profile: Profile::Steady,
        rate: 200.0,
        target: "http://127.0.0.1:8000".into(),
        host: Host { cpus: 2, memory: Some(1 << 30), kernel: "linux".into() },
        users: 5,
        interrupted: false,
        passed: false,
        requests: vec![
            row("POST /token", Phase::WarmUp, 5, 0),
            row("GET /search", Phase::Schedule, 1, 1),
            row("POST /book", Phase::Schedule, 1, 0),
        ],
        hops: vec![hop(summary)],
        distribution: vec![InstanceReplies {
            service: "api_gateway".into(),
            instance: "api_gateway_1".into(),
            requests: 3,
        }],
        cache: Cache { hits: 1, misses: 1, ratio: 0.5 },
        bookings: bookings(summary),
        history: vec![double_booking()],
        ledger: RunLedger {
            collected: Ledger { expected: 8, complete: 7, missing: 1, ..Ledger::default() },
            sampled_out: 0,
            unknown: 0,
        },
        blame: vec![blame()],
        validity: validity(),
        slo: vec![slo()],
        findings: vec![finding()],
        slow_trace: None,
    }
}

fn bookings(summary: Summary) -> BookingCounts {
    BookingCounts {
        accepted: 1,
        cancelled: 0,
        notified: 1,
        duplicate: 0,
        parked: 0,
        lost: 0,
        unknown: 0,
        double_booked: 1,
        commit_to_notified_us: Some(summary),
    }
}

fn double_booking() -> HistoryRow {
    let why = "bookings 1 and 2 give tutor 3 two lessons".into();
    let examples = vec![HistoryExample { why, trace_ids: vec![TraceId(6), TraceId(7)] }];
    HistoryRow { what: "double booking".into(), count: 1, examples }
}

fn slo() -> SloResult {
    SloResult {
        expression: "p99<1ms".into(),
        value: None,
        unit: "ms".into(),
        verified_value: Some(3.0),
        requests: 3,
        unverified: 1,
        met: false,
    }
}

fn hop(summary: Summary) -> HopSummary {
    HopSummary {
        service: "cache".into(),
        operation: "GET /get/{key}".into(),
        kind: Kind::Server,
        count: 2,
        errors: 0,
        refused: 1,
        latency_us: summary,
        self_us: Some(summary),
    }
}

fn blame() -> Blame {
    let share = |hop: &str, kind, share| Share { hop: hop.into(), kind, share };
    Blame {
        request: "all".into(),
        percentile: 99.0,
        latency_us: 3000.0,
        traces: 1,
        shares: vec![share("database", ShareKind::Work, 0.75), share("generator", ShareKind::Wait, 0.25)],
    }
}

fn validity() -> Validity {
    Validity {
        generator_saturated: false,
        late_share: 0.02,
        waited_share: 0.01,
        cpu_pressure: None,
        hiccup_max_us: 900.0,
        clock_skew_us: Some(20.0),
        clock_skew_uncertainty_us: Some(50.0),
        clock_skews: vec![clock_skew()],
        other_load: Some(0),
        descriptor_limit: Some(1024),
        verdict: "valid".into(),
    }
}

fn clock_skew() -> ClockSkew {
    ClockSkew {
        client: "loadtest".into(),
        server: "load_balancer".into(),
        calls: 100,
        skew_us: -20.0,
        uncertainty_us: 50.0,
    }
}

fn finding() -> Finding {
    Finding {
        request: "GET /search".into(),
        verdict: "wrong".into(),
        why: "expected <b>Alice</b>".into(),
        trace_id: TraceId(5),
    }
}

#[test]
fn run_json_matches_the_snapshot() {
    insta::assert_json_snapshot!("run_json", sample());
}

#[test]
fn reads_runs_of_the_first_schema() {
    let mut run = serde_json::to_value(sample()).unwrap();
    run["schema"] = 1.into();
    for (part, names) in [
        ("/requests/0", &["overdue", "unverified_us", "conflicts", "retries"][..]),
        ("/hops/0", &["refused"]),
        ("/bookings", &["unknown", "cancelled", "parked", "double_booked"]),
        ("", &["history"]),
        ("/ledger", &["unknown"]),
        (
            "/validity",
            &["waited_share", "clock_skew_us", "clock_skew_uncertainty_us", "clock_skews", "other_load"],
        ),
        ("/validity", &["descriptor_limit"]),
        ("/slo/0", &["unit", "verified_value", "requests", "unverified"]),
    ] {
        let part = run.pointer_mut(part).and_then(serde_json::Value::as_object_mut).unwrap();
        names.iter().for_each(|name| assert!(part.remove(*name).is_some(), "{name}"));
    }
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("run.json"), run.to_string()).unwrap();
    let old = crate::bundle::Bundle::read(folder.path()).unwrap().run;
    assert_eq!((old.schema, old.requests[0].latency_us), (1, sample().requests[0].latency_us));
    assert!(READABLE.contains(&1) && !READABLE.contains(&4));
}
