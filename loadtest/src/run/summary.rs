//! Summarizes the results of a run as a [`Run`].

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use collector::trace::Kind;
use system::role::Role;

use super::{Endpoints, Results, RunOptions};
use crate::analysis::traces::SelectedTraces;
use crate::bundle::schema::{
    self, Cache, Finding, HopSummary, Host, InstanceReplies, Phase, Requests, Run, SCHEMA,
};
use crate::drive::Workload;
use crate::measure::{Measured, Outcome, RequestKind, Sample, summary};

/// Services in the order of the request path; any other service comes last.
const PATH: [&str; 8] = [
    "loadtest",
    Role::Balancer.service_name(),
    Role::Gateway.service_name(),
    Role::Cache.service_name(),
    Role::Search.service_name(),
    Role::Booking.service_name(),
    Role::Queue.service_name(),
    Role::Notification.service_name(),
];

/// Number of requests due, by kind.
pub(super) struct Due {
    schedule: BTreeMap<RequestKind, u64>,
    users: usize,
}

impl Due {
    /// Returns the number of planned requests, without the log-ins of the warm-up.
    pub(super) fn requests(&self) -> usize {
        self.schedule.values().sum::<u64>() as usize
    }
}

/// Counts the planned requests by kind.
pub(super) fn due(workload: &Workload) -> Due {
    let mut schedule = BTreeMap::new();
    for step in workload.plan.iter().flat_map(|journey| &journey.steps) {
        *schedule.entry(RequestKind::of(&step.action)).or_default() += 1;
    }
    Due { schedule, users: workload.users().iter().sum() }
}

/// Assembles `run.json` and evaluates the objectives.
pub(super) fn summarize(
    options: &RunOptions,
    endpoints: &Endpoints,
    due: &Due,
    results: &Results,
    selected: &SelectedTraces,
) -> Run {
    let measured = &results.driven.measured;
    let mut hops = results.hops.clone();
    hops.sort_by(|a, b| {
        let key = |hop: &HopSummary| {
            (place(&hop.service), hop.service.clone(), depth(hop.kind), hop.operation.clone())
        };
        key(a).cmp(&key(b))
    });
    selected.fill_self_times(&mut hops);
    let mut run = Run {
        schema: SCHEMA,
        started_at: results.driven.zero.map_or_else(Utc::now, DateTime::from),
        duration_s: results.driven.lasted.as_secs_f64(),
        git: commit(),
        seed: options.seed,
        profile: options.profile,
        rate: options.rate,
        target: endpoints.target.clone(),
        host: host(),
        users: due.users,
        interrupted: results.driven.interrupted,
        passed: false,
        requests: requests(measured, due),
        hops,
        distribution: distribution(measured),
        cache: cache(measured),
        bookings: results.bookings,
        history: results.history.clone(),
        ledger: results.ledger.clone(),
        blame: selected.blame.clone(),
        validity: results.validity.clone(),
        slo: Vec::new(),
        findings: findings(measured),
        slow_trace: selected.slow.as_ref().and_then(collector::trace::Trace::id),
    };
    run.slo = options.slo.iter().map(|slo| slo.evaluate(&run, measured)).collect();
    run.passed = passed(&run);
    run
}

/// Returns whether the run passed. Lost traces do not fail a run; wrong or failed replies do, bookings that are lost, unknown or
/// notified twice, and contradictions between what the users saw.
fn passed(run: &Run) -> bool {
    let wrong_or_failed = run.total(|row| row.wrong + row.failed);
    let all_sent = run.total(|row| row.sent) == run.total(|row| row.due);
    !run.interrupted
        && all_sent
        && wrong_or_failed == 0
        && run.bookings.lost == 0
        && run.bookings.duplicate == 0
        && run.history.iter().all(|row| row.count == 0)
        && run.bookings.unknown == 0
        && run.slo.iter().all(|slo| slo.met)
}

fn requests(measured: &Measured, due: &Due) -> Vec<Requests> {
    let warm_up = row(measured, RequestKind::LogIn, Phase::WarmUp, due.users as u64);
    let schedule = RequestKind::ALL
        .into_iter()
        .filter_map(|name| due.schedule.get(&name).map(|due| row(measured, name, Phase::Schedule, *due)));
    std::iter::once(warm_up).chain(schedule).collect()
}

fn row(measured: &Measured, name: RequestKind, phase: Phase, due: u64) -> Requests {
    let samples: Vec<&Sample> =
        measured.phase(phase == Phase::WarmUp).filter(|sample| sample.kind == name).collect();
    let count = |of: &dyn Fn(&Sample) -> bool| samples.iter().filter(|sample| of(sample)).count() as u64;
    let of_those = |which: fn(&Sample) -> bool, of: fn(&Sample) -> u64| {
        summary(samples.iter().filter(|sample| which(sample)).map(|sample| of(sample)))
    };
    let overdue = measured.overdue.get(&name).filter(|_| phase == Phase::Schedule);
    let retries = measured.retries.get(&name).filter(|_| phase == Phase::Schedule);
    Requests {
        name: name.as_str().to_owned(),
        phase,
        due,
        sent: samples.len() as u64,
        verified: count(&Sample::verified),
        conflicts: count(&|sample| sample.outcome == Outcome::Conflict),
        wrong: count(&|sample| sample.outcome == Outcome::Wrong),
        failed: count(&|sample| sample.outcome == Outcome::Failed),
        late: count(&Sample::late),
        overdue: overdue.copied().unwrap_or_default(),
        retries: retries.copied().unwrap_or_default(),
        latency_us: of_those(Sample::verified, |sample| sample.latency_ns),
        service_us: of_those(Sample::verified, |sample| sample.service_ns),
        unverified_us: of_those(Sample::unverified, |sample| sample.latency_ns),
    }
}

fn place(service: &str) -> usize {
    PATH.iter().position(|known| *known == service).unwrap_or(PATH.len())
}

/// Sorts spans of one service: incoming, internal, outgoing.
fn depth(kind: Kind) -> u8 {
    match kind {
        Kind::Server | Kind::Consumer => 0,
        Kind::Internal | Kind::Unspecified => 1,
        Kind::Producer | Kind::Client => 2,
    }
}

fn distribution(measured: &Measured) -> Vec<InstanceReplies> {
    let served = |(instance, requests): (&String, &u64)| InstanceReplies {
        service: Role::Gateway.service_name().into(),
        instance: instance.clone(),
        requests: *requests,
    };
    measured.gateways.iter().map(served).collect()
}

fn cache(measured: &Measured) -> Cache {
    let (hits, misses) = (measured.hits, measured.misses);
    Cache { hits, misses, ratio: hits as f64 / (hits + misses).max(1) as f64 }
}

fn findings(measured: &Measured) -> Vec<Finding> {
    let finding = |finding: &crate::measure::Finding| schema::Finding {
        request: finding.kind.as_str().to_owned(),
        verdict: if finding.outcome == Outcome::Wrong { "wrong" } else { "failed" }.to_owned(),
        why: finding.why.clone(),
        trace_id: finding.trace,
    };
    measured.findings.iter().map(finding).collect()
}

fn host() -> Host {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let memory = read("/proc/meminfo")
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:")?.trim().strip_suffix(" kB")?.parse::<u64>().ok())
        .map(|kilobytes| kilobytes * 1024);
    let kernel = format!("{} {}", std::env::consts::OS, read("/proc/sys/kernel/osrelease").trim());
    Host {
        cpus: std::thread::available_parallelism().map_or(1, usize::from),
        memory,
        kernel: kernel.trim_end().to_owned(),
    }
}

/// Returns the commit of the current working copy, with `+` if it has uncommitted changes.
fn commit() -> Option<String> {
    let git = |arguments: &[&str]| {
        let output = std::process::Command::new("git").args(arguments).output().ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let commit = git(&["rev-parse", "--short=12", "HEAD"])?;
    let changed = git(&["status", "--porcelain", "--untracked-files=no"])?;
    Some(if changed.is_empty() { commit } else { format!("{commit}+") })
}
