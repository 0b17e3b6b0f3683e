//! Can the figures be trusted? Gates that do not look at the latencies they judge.
//!
//! A thread that does nothing but sleep tells how long this machine kept a runnable thread waiting (the pauses
//! that a client would measure even of an ideal system); the kernel's pressure file tells which share of the
//! time some thread waited for a CPU; the samples tell whether requests left when they were due.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::measure::{Held, Measured};

const SLEEP: Duration = Duration::from_millis(1);
/// A pause of this machine beyond which tail latencies are the machine's as much as the system's.
const HICCUP_LIMIT: Duration = Duration::from_millis(10);
/// The share of time in which some thread waited for a CPU, beyond which the machine was short of CPUs.
const PRESSURE_LIMIT: f64 = 0.25;
/// The share of requests sent late through nobody's fault but the generator's, beyond which it was saturated.
const SATURATED_ABOVE: f64 = 0.05;
/// What a free generator may be late without being called saturated: a pause the hiccup gate reports anyway.
const SATURATED_AFTER: Duration = Duration::from_millis(5);

/// Whether the run measured the system, or the machine and the generator.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Validity {
    /// More than 5 % of the requests left over 5 ms late although the previous reply was there and
    /// a user was free, or more than 5 % found no free user: the generator, not the system, was the limit.
    pub(crate) generator_saturated: bool,
    /// The share of requests sent more than a millisecond after they were due, for whatever reason.
    pub(crate) late_share: f64,
    /// The share of the run in which some thread of the machine waited for a CPU; absent where the kernel does not say.
    pub(crate) cpu_pressure: Option<f64>,
    /// The longest that a sleeping thread overslept.
    pub(crate) hiccup_max_us: f64,
    /// `valid`, or what is wrong, as a sentence.
    pub(crate) verdict: String,
}

/// Watches the machine until it is finished.
pub(crate) struct Watch {
    hiccup_ns: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    pressure: Option<u64>,
    since: Instant,
}

impl Watch {
    /// Starts watching.
    pub(crate) fn start() -> std::io::Result<Self> {
        let watch = Watch {
            hiccup_ns: Arc::default(),
            stop: Arc::default(),
            pressure: stalled_us(),
            since: Instant::now(),
        };
        let (worst, stop) = (Arc::clone(&watch.hiccup_ns), Arc::clone(&watch.stop));
        std::thread::Builder::new().name("hiccups".into()).spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                let start = Instant::now();
                std::thread::sleep(SLEEP);
                let over = start.elapsed().saturating_sub(SLEEP);
                worst.fetch_max(over.as_nanos() as u64, Ordering::Relaxed);
            }
        })?;
        Ok(watch)
    }

    /// Stops watching and judges.
    pub(crate) fn finish(self, measured: &Measured) -> Validity {
        let elapsed = self.since.elapsed().as_micros() as f64;
        let pressure = self
            .pressure
            .zip(stalled_us())
            .map(|(before, after)| (after.saturating_sub(before) as f64 / elapsed.max(1.0)).min(1.0));
        let hiccup = Duration::from_nanos(self.hiccup_ns.load(Ordering::Relaxed));
        judge(measured, pressure, hiccup)
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

fn judge(measured: &Measured, cpu_pressure: Option<f64>, hiccup: Duration) -> Validity {
    let total = measured.phase(false).count().max(1) as f64;
    let share = |count: usize| count as f64 / total;
    let late_share = share(measured.phase(false).filter(|sample| sample.late()).count());
    let very_late = |held: Held| {
        let late = |sample: &&_| is_very_late(sample) && sample.held == held;
        share(measured.phase(false).filter(late).count())
    };
    let (own, no_user) = (very_late(Held::Free), very_late(Held::NoUser));
    let generator_saturated = own > SATURATED_ABOVE || no_user > SATURATED_ABOVE;
    let mut reasons = Vec::new();
    if own > SATURATED_ABOVE {
        reasons.push(format!("the generator itself sent {:.0} % of the requests late", own * 100.0));
    }
    if no_user > SATURATED_ABOVE {
        reasons.push(format!(
            "{:.0} % of the requests found no free user (--users raises their number)",
            no_user * 100.0
        ));
    }
    if hiccup > HICCUP_LIMIT {
        reasons.push(format!("the machine paused for up to {:.1} ms", hiccup.as_secs_f64() * 1e3));
    }
    if let Some(pressure) = cpu_pressure.filter(|pressure| *pressure > PRESSURE_LIMIT) {
        reasons.push(format!("threads waited for a CPU during {:.0} % of the run", pressure * 100.0));
    }
    let verdict = match reasons.is_empty() {
        true => "valid".to_owned(),
        false => format!("read the tails with care: {}", reasons.join("; ")),
    };
    Validity {
        generator_saturated,
        late_share,
        cpu_pressure,
        hiccup_max_us: hiccup.as_nanos() as f64 / 1e3,
        verdict,
    }
}

fn is_very_late(sample: &crate::measure::Sample) -> bool {
    u128::from(sample.late_ns) > SATURATED_AFTER.as_nanos()
}

/// Microseconds since boot in which some thread waited for a CPU.
fn stalled_us() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/pressure/cpu").ok()?;
    text.lines().find(|line| line.starts_with("some"))?.split("total=").nth(1)?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use collector::trace::TraceId;

    use super::*;
    use crate::measure::{Name, Outcome, Sample};

    fn measured(late: &[(u64, Held)]) -> Measured {
        let sample = |(ms, held): &(u64, Held)| Sample {
            name: Name::Search,
            warm_up: false,
            outcome: Outcome::Verified,
            held: *held,
            due: Duration::ZERO,
            late_ns: ms * 1_000_000,
            latency_ns: 0,
            service_ns: 0,
            trace: TraceId(1),
            sampled: true,
        };
        Measured { samples: late.iter().map(sample).collect(), ..Measured::default() }
    }

    #[test]
    fn a_quiet_machine_is_valid() {
        let validity = judge(&measured(&[(0, Held::Free); 10]), Some(0.1), Duration::from_millis(2));
        assert_eq!((validity.verdict.as_str(), validity.generator_saturated), ("valid", false));
    }

    #[test]
    fn a_slow_system_makes_requests_late_but_does_not_saturate_the_generator() {
        let validity = judge(&measured(&[(50, Held::Predecessor); 10]), Some(0.1), Duration::ZERO);
        assert_eq!((validity.late_share, validity.generator_saturated), (1.0, false));
    }

    #[test]
    fn a_generator_that_is_late_by_itself_or_short_of_users_is_saturated() {
        for (held, reason) in [(Held::Free, "generator itself"), (Held::NoUser, "no free user")] {
            let validity = judge(&measured(&[(50, held), (0, Held::Free)]), None, Duration::ZERO);
            assert!(validity.generator_saturated && validity.verdict.contains(reason), "{validity:?}");
        }
    }

    #[test]
    fn pauses_and_pressure_stand_in_the_verdict() {
        let validity = judge(&measured(&[(0, Held::Free)]), Some(0.5), Duration::from_millis(30));
        assert!(validity.verdict.contains("30.0 ms") && validity.verdict.contains("50 %"), "{validity:?}");
    }

    #[test]
    fn the_watch_sees_time_pass() {
        let watch = Watch::start().unwrap();
        let deadline = Instant::now() + Duration::from_secs(10);
        while watch.hiccup_ns.load(Ordering::Relaxed) == 0 && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(1));
        }
        assert!(watch.finish(&Measured::default()).hiccup_max_us > 0.0);
    }
}
