use super::*;

fn sample(kind: RequestKind, due_ms: u64, latency_us: u64) -> Sample {
    let trace = TraceId(u128::from(due_ms) + 1);
    Sample { trace, ..super::sample(kind, Duration::from_millis(due_ms), latency_us * 1000) }
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

#[test]
fn latencies_are_of_verified_replies_and_the_others_are_counted() {
    let mut measured = measured();
    for outcome in [Outcome::Wrong, Outcome::Failed] {
        measured.samples.push(Sample { outcome, ..sample(RequestKind::Search, 1, 5) });
    }
    measured.overdue.insert(RequestKind::Book, 4);
    assert_eq!((measured.latency(None).len(), measured.unverified(None)), (3000, 6));
    assert!(measured.latency(None).min() > 99_000, "a refusal in 5 µs is no fast reply");
    assert_eq!(measured.unverified(Some(RequestKind::Search)), 2);
    assert_eq!(measured.unverified(Some(RequestKind::Book)), 4);
}

#[test]
fn nothing_measured_has_no_summary() {
    assert_eq!(summary(std::iter::empty()), None);
    assert!(summary([1000].into_iter()).is_some_and(|summary| summary.max >= 1.0));
}
