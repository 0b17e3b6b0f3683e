use super::*;

fn sample(name: Name, due_ms: u64, latency_us: u64) -> Sample {
    Sample {
        name,
        warm_up: false,
        outcome: Outcome::Verified,
        held: Held::Free,
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
        .map(|n| sample(if n % 3 == 0 { Name::Book } else { Name::Search }, n, 100 + n))
        .collect();
    Measured { samples, ..Measured::default() }
}

#[test]
fn the_warm_up_is_in_no_latency() {
    let mut measured = measured();
    measured.samples.push(Sample { warm_up: true, ..sample(Name::LogIn, 0, 9_000_000) });
    assert_eq!(measured.latency(None).len(), 3000);
    assert_eq!(measured.latency(Some(Name::LogIn)).len(), 0);
}

#[test]
fn late_is_more_than_a_millisecond_after_due() {
    let mut on_time = sample(Name::Search, 0, 5);
    on_time.late_ns = 1_000_000;
    assert!(!on_time.late());
    on_time.late_ns += 1;
    assert!(on_time.late());
}

#[test]
fn merging_keeps_every_sample_and_bounds_the_findings() {
    let finding = Finding { name: Name::Search, outcome: Outcome::Wrong, why: "x".into(), trace: TraceId(1) };
    let mut user = measured();
    (0..30).for_each(|_| user.find(finding.clone()));
    user.gateways.insert("api_gateway_1".into(), 2);
    let mut all = user.clone();
    all.merge(user);
    assert_eq!((all.samples.len(), all.findings.len(), all.gateways["api_gateway_1"]), (6000, 20, 4));
}
