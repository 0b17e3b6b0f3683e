use super::*;

fn sample(kind: RequestKind, due_ms: u64, latency_us: u64) -> Sample {
    Sample {
        kind,
        warm_up: false,
        outcome: Outcome::Verified,
        delay_cause: DelayCause::Generator,
        due: Duration::from_millis(due_ms),
        late_ns: 0,
        latency_ns: latency_us * 1000,
        service_ns: latency_us * 1000,
        trace: TraceId(u128::from(due_ms) + 1),
        sampled: true,
    }
}

fn measured() -> Measured {
    let samples = (0..3000_u64)
        .map(|n| sample(if n % 3 == 0 { RequestKind::Book } else { RequestKind::Search }, n, 100 + n))
        .collect();
    Measured { samples, ..Measured::default() }
}

#[test]
fn excludes_the_warm_up_from_latencies() {
    let mut measured = measured();
    measured.samples.push(Sample { warm_up: true, ..sample(RequestKind::LogIn, 0, 9_000_000) });
    assert_eq!(measured.latency(None).len(), 3000);
    assert_eq!(measured.latency(Some(RequestKind::LogIn)).len(), 0);
}

#[test]
fn counts_a_request_as_late_after_one_millisecond() {
    let mut on_time = sample(RequestKind::Search, 0, 5);
    on_time.late_ns = 1_000_000;
    assert!(!on_time.late());
    on_time.late_ns += 1;
    assert!(on_time.late());
}

#[test]
fn merging_keeps_every_sample_and_limits_the_findings() {
    let finding =
        Finding { kind: RequestKind::Search, outcome: Outcome::Wrong, why: "x".into(), trace: TraceId(1) };
    let mut user = measured();
    (0..30).for_each(|_| user.add_finding(finding.clone()));
    user.gateways.insert("api_gateway_1".into(), 2);
    let mut all = user.clone();
    all.merge(user);
    assert_eq!((all.samples.len(), all.findings.len(), all.gateways["api_gateway_1"]), (6000, 20, 4));
}
