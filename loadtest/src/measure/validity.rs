//! Checks whether the figures of a run are valid, without using the latencies themselves.
//!
//! A sleeping thread measures how long the machine delays a runnable thread: pauses that a client would see even with
//! an ideal system. The kernel's pressure file gives the share of time in which a thread waited for a CPU. The samples
//! show whether requests were sent when they were due. The spans show whether the clocks agree, and whether the system served
//! others meanwhile.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use collector::blame::clock_skew::ClockSkew;
use serde::{Deserialize, Serialize};

use crate::measure::{DelayCause, LimitFailures, Measured, Sample};

const SLEEP: Duration = Duration::from_millis(1);
/// Pause above which tail latencies say as much about the machine as about the system.
const HICCUP_LIMIT: Duration = Duration::from_millis(10);
/// Share of time with a thread waiting for a CPU above which the machine lacked CPU time.
const PRESSURE_LIMIT: f64 = 0.25;
/// Share of requests delayed by the generator itself above which it was saturated.
const SATURATED_ABOVE: f64 = 0.05;
/// Delay up to which a request does not count towards saturation; the pause limit reports longer ones.
const SATURATED_AFTER: Duration = Duration::from_millis(5);

/// Skew of two clocks above which the times between two services say more about the clocks than about the system.
const SKEW_LIMIT_US: f64 = 1000.0;
/// Share of requests by others, relative to the requests of the run, above which they matter.
const OTHER_LOAD_ABOVE: f64 = 0.01;

/// Whether the run measured the system rather than the machine or the generator.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Validity {
    /// The generator, not the system, was the limit: more than 5 % of the requests were sent over 5 ms late although the
    /// previous reply had arrived and a user was free, or more than 5 % found no free user although replies came in time, or
    /// the generator had too few file descriptors or local ports.
    pub(crate) generator_saturated: bool,
    /// Share of requests sent more than one millisecond after they were due, for any reason.
    pub(crate) late_share: f64,
    /// Share of requests sent more than one millisecond late because an earlier reply was slow. No fault of the generator.
    #[serde(default)]
    pub(crate) waited_share: f64,
    /// Share of the run in which a thread of the machine waited for a CPU; absent if the kernel does not report it.
    pub(crate) cpu_pressure: Option<f64>,
    /// Longest delay of a sleeping thread in microseconds.
    pub(crate) hiccup_max_us: f64,
    /// Largest difference between the clocks of two processes that call each other; absent without calls.
    #[serde(default)]
    pub(crate) clock_skew_us: Option<f64>,
    /// The difference lies within this distance of `clock_skew_us`.
    #[serde(default)]
    pub(crate) clock_skew_uncertainty_us: Option<f64>,
    /// The skew of each pair of processes, largest first.
    #[serde(default)]
    pub(crate) clock_skews: Vec<ClockSkew>,
    /// Requests that the system served for others during the run; absent if the collector does not know.
    #[serde(default)]
    pub(crate) other_load: Option<u64>,
    /// Number of file descriptors that the generator may open.
    #[serde(default)]
    pub(crate) descriptor_limit: Option<u64>,
    /// `valid`, or the reasons why the figures are doubtful.
    pub(crate) verdict: String,
}

/// What was observed apart from the requests.
#[derive(Clone, Debug, Default)]
pub(crate) struct Surroundings {
    /// See [`Validity::cpu_pressure`].
    pub(crate) cpu_pressure: Option<f64>,
    /// Longest delay of a sleeping thread.
    pub(crate) hiccup: Duration,
    /// See [`Validity::clock_skews`].
    pub(crate) clock_skews: Vec<ClockSkew>,
    /// See [`Validity::other_load`].
    pub(crate) other_load: Option<u64>,
    /// See [`Validity::descriptor_limit`].
    pub(crate) descriptor_limit: Option<u64>,
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

    /// Ends the measurement and returns its figures; the others are absent.
    pub(crate) fn finish(self) -> Surroundings {
        let elapsed = self.since.elapsed().as_micros() as f64;
        let cpu_pressure = self
            .pressure
            .zip(stalled_us())
            .map(|(before, after)| (after.saturating_sub(before) as f64 / elapsed.max(1.0)).min(1.0));
        let hiccup = Duration::from_nanos(self.hiccup_ns.load(Ordering::Relaxed));
        Surroundings { cpu_pressure, hiccup, ..Surroundings::default() }
    }
}

impl Drop for MachineMonitor {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// Returns the verdict on the figures of a run.
pub(crate) fn judge(measured: &Measured, surroundings: Surroundings) -> Validity {
    let waited =
        |sample: &Sample| matches!(sample.delay_cause, DelayCause::PreviousReply | DelayCause::BusyUsers);
    let mut tail = generator_faults(measured, surroundings.descriptor_limit);
    let generator_saturated = !tail.is_empty();
    let requests = measured.phase(false).count() as f64;
    if let Some(others) =
        surroundings.other_load.filter(|others| *others as f64 > requests * OTHER_LOAD_ABOVE)
    {
        tail.push(format!("other load was present: {others} requests besides the {requests} of this run"));
    }
    if surroundings.hiccup > HICCUP_LIMIT {
        tail.push(format!("the machine paused for up to {:.1} ms", surroundings.hiccup.as_secs_f64() * 1e3));
    }
    if let Some(pressure) = surroundings.cpu_pressure.filter(|pressure| *pressure > PRESSURE_LIMIT) {
        tail.push(format!("threads waited for a CPU during {:.0} % of the run", pressure * 100.0));
    }
    let mut verdicts = Vec::new();
    if !tail.is_empty() {
        verdicts.push(format!("tail latencies are doubtful: {}", tail.join("; ")));
    }
    let skew = surroundings.clock_skews.first();
    if let Some(skew) = skew.filter(|skew| skew.skew_us.abs() > SKEW_LIMIT_US && skew.certain_us() > 0.0) {
        verdicts.push(format!("the times between services are doubtful: {}", skewed(skew)));
    }
    Validity {
        generator_saturated,
        late_share: share(measured, Sample::late),
        waited_share: share(measured, |sample| sample.late() && waited(sample)),
        cpu_pressure: surroundings.cpu_pressure,
        hiccup_max_us: surroundings.hiccup.as_nanos() as f64 / 1e3,
        clock_skew_us: skew.map(|skew| skew.skew_us.abs()),
        clock_skew_uncertainty_us: skew.map(|skew| skew.uncertainty_us),
        clock_skews: surroundings.clock_skews,
        other_load: surroundings.other_load,
        descriptor_limit: surroundings.descriptor_limit,
        verdict: if verdicts.is_empty() { "valid".to_owned() } else { verdicts.join(". ") },
    }
}

/// Returns the ways in which the generator was the limit.
fn generator_faults(measured: &Measured, descriptor_limit: Option<u64>) -> Vec<String> {
    let very = |late_ns: u64| u128::from(late_ns) > SATURATED_AFTER.as_nanos();
    let generator = share(measured, |sample| very(sample.late_ns.saturating_sub(sample.blocked_ns)));
    let no_user =
        share(measured, |sample| sample.delay_cause == DelayCause::NoFreeUser && very(sample.blocked_ns));
    let mut faults = Vec::new();
    if generator > SATURATED_ABOVE {
        faults.push(format!("the generator itself delayed {:.0} % of the requests", generator * 100.0));
    }
    if no_user > SATURATED_ABOVE {
        faults
            .push(format!("{:.0} % of the requests found no free user (increase --users)", no_user * 100.0));
    }
    let LimitFailures { descriptors, ports } = measured.limits;
    if descriptors > 0 {
        let limit = descriptor_limit.map(|limit| format!(" of {limit}")).unwrap_or_default();
        faults.push(format!(
            "{descriptors} requests failed at the generator's limit{limit} file descriptors (raise it with ulimit -n)"
        ));
    }
    if ports > 0 {
        faults
            .push(format!("{ports} requests failed because the generator's machine had no free local port"));
    }
    faults
}

/// Returns the share of the scheduled requests for which `of` holds.
fn share(measured: &Measured, of: impl Fn(&Sample) -> bool) -> f64 {
    let total = measured.phase(false).count().max(1) as f64;
    measured.phase(false).filter(|sample| of(sample)).count() as f64 / total
}

/// Describes which clock is ahead of which.
fn skewed(skew: &ClockSkew) -> String {
    let ahead = if skew.skew_us < 0.0 { "behind" } else { "ahead of" };
    let us = |us: f64| collector::format::duration((us * 1e3).round() as u64);
    format!(
        "the clock of {} is {} (± {}) {ahead} that of {}",
        skew.server,
        us(skew.skew_us.abs()),
        us(skew.uncertainty_us),
        skew.client
    )
}

/// Returns the microseconds since boot in which a thread waited for a CPU.
fn stalled_us() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/pressure/cpu").ok()?;
    text.lines().find(|line| line.starts_with("some"))?.split("total=").nth(1)?.trim().parse().ok()
}

#[cfg(test)]
mod tests;
