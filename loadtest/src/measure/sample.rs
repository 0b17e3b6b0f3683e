//! One sample, for tests.

use super::*;

/// Returns a verified request of a user that was sent when it was due.
pub(crate) fn sample(kind: RequestKind, due: Duration, latency_ns: u64) -> Sample {
    Sample {
        kind,
        warm_up: false,
        by_intruder: false,
        outcome: Outcome::Verified,
        delay_cause: DelayCause::Generator,
        due,
        late_ns: 0,
        blocked_ns: 0,
        latency_ns,
        service_ns: latency_ns,
        trace: TraceId(1),
        sampled: true,
    }
}
