//! Checks whether the figures of a run are valid, without using the latencies themselves.
//!
//! A sleeping thread measures how long the machine delays a runnable thread: pauses that a client would see even with
//! an ideal system. The kernel's pressure file gives the share of time in which a thread waited for a CPU. The samples
//! show whether requests were sent when they were due.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::measure::{DelayCause, Measured};

const SLEEP: Duration = Duration::from_millis(1);
/// Pause above which tail latencies say as much about the machine as about the system.
const HICCUP_LIMIT: Duration = Duration::from_millis(10);
/// Share of time with a thread waiting for a CPU above which the machine lacked CPU time.
const PRESSURE_LIMIT: f64 = 0.25;
/// Share of requests delayed by the generator itself above which it was saturated.
const SATURATED_ABOVE: f64 = 0.05;
/// Delay up to which a request does not count towards saturation; the pause limit reports longer ones.
const SATURATED_AFTER: Duration = Duration::from_millis(5);

/// Whether the run measured the system rather than the machine or the generator.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Validity {
    /// More than 5 % of the requests were sent over 5 ms late although the previous reply had arrived and a user was free,
    /// or more than 5 % found no free user: the generator, not the system, was the limit.
    pub(crate) generator_saturated: bool,
    /// Share of requests sent more than one millisecond after they were due, for any reason.
    pub(crate) late_share: f64,
    /// Share of the run in which a thread of the machine waited for a CPU; absent if the kernel does not report it.
    pub(crate) cpu_pressure: Option<f64>,
    /// Longest delay of a sleeping thread in microseconds.
    pub(crate) hiccup_max_us: f64,
    /// `valid`, or the reasons why the figures are doubtful.
    pub(crate) verdict: String,
}

/// Measures pauses and CPU pressure of the machine while a run lasts.
pub(crate) struct MachineMonitor {
    hiccup_ns: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    pressure: Option<u64>,
    since: Instant,
}

impl MachineMonitor {
    /// Starts the measurement.
    pub(crate) fn start() -> std::io::Result<Self> {
        let monitor = MachineMonitor {
            hiccup_ns: Arc::default(),
            stop: Arc::default(),
            pressure: stalled_us(),
            since: Instant::now(),
        };
        let (worst, stop) = (Arc::clone(&monitor.hiccup_ns), Arc::clone(&monitor.stop));
        std::thread::Builder::new().name("hiccups".into()).spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                let start = Instant::now();
                std::thread::sleep(SLEEP);
                let over = start.elapsed().saturating_sub(SLEEP);
                worst.fetch_max(over.as_nanos() as u64, Ordering::Relaxed);
            }
        })?;
        Ok(monitor)
    }

    /// Ends the measurement and returns the verdict.
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

impl Drop for MachineMonitor {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

fn judge(measured: &Measured, cpu_pressure: Option<f64>, hiccup: Duration) -> Validity {
    let total = measured.phase(false).count().max(1) as f64;
    let share = |count: usize| count as f64 / total;
    let late_share = share(measured.phase(false).filter(|sample| sample.late()).count());
    let very_late = |delay_cause: DelayCause| {
        let late = |sample: &&_| is_very_late(sample) && sample.delay_cause == delay_cause;
        share(measured.phase(false).filter(late).count())
    };
    let (generator, no_user) = (very_late(DelayCause::Generator), very_late(DelayCause::NoFreeUser));
    let generator_saturated = generator > SATURATED_ABOVE || no_user > SATURATED_ABOVE;
    let mut reasons = Vec::new();
    if generator > SATURATED_ABOVE {
        reasons.push(format!("the generator itself delayed {:.0} % of the requests", generator * 100.0));
    }
    if no_user > SATURATED_ABOVE {
        reasons
            .push(format!("{:.0} % of the requests found no free user (increase --users)", no_user * 100.0));
    }
    if hiccup > HICCUP_LIMIT {
        reasons.push(format!("the machine paused for up to {:.1} ms", hiccup.as_secs_f64() * 1e3));
    }
    if let Some(pressure) = cpu_pressure.filter(|pressure| *pressure > PRESSURE_LIMIT) {
        reasons.push(format!("threads waited for a CPU during {:.0} % of the run", pressure * 100.0));
    }
    let verdict = match reasons.is_empty() {
        true => "valid".to_owned(),
        false => format!("tail latencies are doubtful: {}", reasons.join("; ")),
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

/// Returns the microseconds since boot in which a thread waited for a CPU.
fn stalled_us() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/pressure/cpu").ok()?;
    text.lines().find(|line| line.starts_with("some"))?.split("total=").nth(1)?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use collector::trace::TraceId;

    use super::*;
    use crate::measure::{Outcome, RequestKind, Sample};

    fn measured(late: &[(u64, DelayCause)]) -> Measured {
        let sample = |(ms, delay_cause): &(u64, DelayCause)| Sample {
            kind: RequestKind::Search,
            warm_up: false,
            outcome: Outcome::Verified,
            delay_cause: *delay_cause,
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
    fn accepts_a_quiet_machine() {
        let validity =
            judge(&measured(&[(0, DelayCause::Generator); 10]), Some(0.1), Duration::from_millis(2));
        assert_eq!((validity.verdict.as_str(), validity.generator_saturated), ("valid", false));
    }

    #[test]
    fn delays_by_the_system_do_not_count_as_saturation() {
        let validity = judge(&measured(&[(50, DelayCause::PreviousReply); 10]), Some(0.1), Duration::ZERO);
        assert_eq!((validity.late_share, validity.generator_saturated), (1.0, false));
    }

    #[test]
    fn late_sends_and_missing_users_count_as_saturation() {
        for (delay_cause, reason) in
            [(DelayCause::Generator, "generator itself"), (DelayCause::NoFreeUser, "no free user")]
        {
            let validity =
                judge(&measured(&[(50, delay_cause), (0, DelayCause::Generator)]), None, Duration::ZERO);
            assert!(validity.generator_saturated && validity.verdict.contains(reason), "{validity:?}");
        }
    }

    #[test]
    fn verdict_names_pauses_and_cpu_pressure() {
        let validity = judge(&measured(&[(0, DelayCause::Generator)]), Some(0.5), Duration::from_millis(30));
        assert!(validity.verdict.contains("30.0 ms") && validity.verdict.contains("50 %"), "{validity:?}");
    }

    #[test]
    fn monitor_measures_pauses() {
        let monitor = MachineMonitor::start().unwrap();
        let deadline = Instant::now() + Duration::from_secs(10);
        while monitor.hiccup_ns.load(Ordering::Relaxed) == 0 && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(1));
        }
        assert!(monitor.finish(&Measured::default()).hiccup_max_us > 0.0);
    }
}
