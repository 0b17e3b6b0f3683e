//! Everything found, as one [`Run`].

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use collector::latency::Summary;
use collector::trace::Kind;

use super::{Endpoints, Found, Shape};
use crate::analysis::traces::Chosen;
use crate::bundle::schema::{self, Cache, Finding, Hop, Host, Phase, Requests, Run, SCHEMA, Served};
use crate::drive::Attack;
use crate::measure::{Measured, Name, Outcome, Sample, histogram};
use crate::plan::{Action, Intrusion};

/// Services in the order in which a request meets them; others come last.
const PATH: [&str; 8] = [
    "loadtest",
    "load_balancer",
    "api_gateway",
    "cache",
    "search_service",
    "booking_service",
    "queue",
    "notification_service",
];

/// What the schedule, or the warm-up, has due.
pub(super) struct Due {
    schedule: BTreeMap<Name, u64>,
    users: usize,
}

/// Counts the requests of a plan by name.
pub(super) fn due(attack: &Attack) -> Due {
    let mut schedule = BTreeMap::new();
    for step in attack.plan.iter().flat_map(|journey| &journey.steps) {
        *schedule.entry(name(&step.action)).or_default() += 1;
    }
    Due { schedule, users: attack.users().iter().sum() }
}

/// Under which name an action is counted.
pub(crate) fn name(action: &Action) -> Name {
    match action {
        Action::Search { .. } | Action::Intrude(Intrusion::SqlInSubject) => Name::Search,
        Action::Book { .. } => Name::Book,
        Action::Bookings => Name::Bookings,
        Action::Intrude(Intrusion::WrongPassword | Intrusion::UnknownUser) => Name::RefusedLogIn,
        Action::Intrude(Intrusion::OtherStudent { .. }) => Name::RefusedBook,
        Action::Intrude(_) => Name::RefusedSearch,
    }
}

/// Puts it all together and judges it.
pub(super) fn summarize(
    shape: &Shape,
    endpoints: &Endpoints,
    due: &Due,
    found: &Found,
    chosen: &Chosen,
) -> Run {
    let measured = &found.after.measured;
    let mut hops = found.hops.clone();
    hops.sort_by(|a, b| {
        let key =
            |hop: &Hop| (place(&hop.service), hop.service.clone(), depth(hop.kind), hop.operation.clone());
        key(a).cmp(&key(b))
    });
    chosen.fill_self_times(&mut hops);
    let mut run = Run {
        schema: SCHEMA,
        started_at: found.after.zero.map_or_else(Utc::now, DateTime::from),
        duration_s: found.after.lasted.as_secs_f64(),
        git: commit(),
        seed: shape.seed,
        profile: shape.profile,
        rate: shape.rate,
        target: endpoints.target.clone(),
        host: host(),
        users: due.users,
        interrupted: found.after.interrupted,
        passed: false,
        requests: requests(measured, due),
        hops,
        distribution: distribution(measured),
        cache: cache(measured),
        bookings: found.bookings,
        ledger: found.ledger.clone(),
        blame: chosen.blame.clone(),
        validity: found.validity.clone(),
        slo: Vec::new(),
        findings: findings(measured),
        slow_trace: chosen.slow.as_ref().and_then(collector::trace::Trace::id),
    };
    run.slo = shape.slo.iter().map(|slo| slo.evaluate(&run, measured)).collect();
    run.passed = passed(&run);
    run
}

/// Traces lost in a named row do not fail a run; replies and bookings do.
fn passed(run: &Run) -> bool {
    let wrong_or_failed = run.total(|row| row.wrong + row.failed);
    let all_sent = run.total(|row| row.sent) == run.total(|row| row.due);
    !run.interrupted
        && all_sent
        && wrong_or_failed == 0
        && run.bookings.lost == 0
        && run.slo.iter().all(|slo| slo.met)
}

fn requests(measured: &Measured, due: &Due) -> Vec<Requests> {
    let warm_up = row(measured, Name::LogIn, Phase::WarmUp, due.users as u64);
    let schedule = Name::ALL
        .into_iter()
        .filter_map(|name| due.schedule.get(&name).map(|due| row(measured, name, Phase::Schedule, *due)));
    std::iter::once(warm_up).chain(schedule).collect()
}

fn row(measured: &Measured, name: Name, phase: Phase, due: u64) -> Requests {
    let samples: Vec<&Sample> =
        measured.phase(phase == Phase::WarmUp).filter(|sample| sample.name == name).collect();
    let count = |of: &dyn Fn(&Sample) -> bool| samples.iter().filter(|sample| of(sample)).count() as u64;
    let summary = |of: fn(&Sample) -> u64| Summary::of(&histogram(samples.iter().map(|sample| of(sample))));
    Requests {
        name: name.as_str().to_owned(),
        phase,
        due,
        sent: samples.len() as u64,
        verified: count(&|sample| sample.outcome == Outcome::Verified),
        wrong: count(&|sample| sample.outcome == Outcome::Wrong),
        failed: count(&|sample| sample.outcome == Outcome::Failed),
        late: count(&Sample::late),
        latency_us: summary(|sample| sample.latency_ns),
        service_us: summary(|sample| sample.service_ns),
    }
}

fn place(service: &str) -> usize {
    PATH.iter().position(|known| *known == service).unwrap_or(PATH.len())
}

/// What comes in, what is done about it, what goes out.
fn depth(kind: Kind) -> u8 {
    match kind {
        Kind::Server | Kind::Consumer => 0,
        Kind::Internal | Kind::Unspecified => 1,
        Kind::Producer | Kind::Client => 2,
    }
}

fn distribution(measured: &Measured) -> Vec<Served> {
    let served = |(instance, requests): (&String, &u64)| Served {
        service: "api_gateway".into(),
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
        request: finding.name.as_str().to_owned(),
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

/// The commit of the working copy that the run is started in.
fn commit() -> Option<String> {
    let git = |arguments: &[&str]| {
        let output = std::process::Command::new("git").args(arguments).output().ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let commit = git(&["rev-parse", "--short=12", "HEAD"])?;
    let changed = git(&["status", "--porcelain", "--untracked-files=no"])?;
    Some(if changed.is_empty() { commit } else { format!("{commit}+") })
}
