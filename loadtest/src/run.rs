//! One load run, from its options to its bundle.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use tokio_util::sync::CancellationToken;

use crate::analysis::traces::SelectedTraces;
use crate::bundle::collector_files::CollectorArchive;
use crate::bundle::schema::{BookingCounts, HistoryRow, HopSummary, RunLedger};
use crate::bundle::{self, Bundle};
use crate::collector_client::CollectorClient;
use crate::drive::oracle::Oracle;
use crate::drive::{DriveOutcome, DriveProgress, Driver, LOG_IN_INTERVAL, TraceGroups, Workload};
use crate::measure::validity::{MachineMonitor, Surroundings, Validity, judge};
use crate::measure::{Measured, descriptors};
use crate::plan::{Mix, PlanSpec, TooLarge};
use crate::stop::{Interrupted, Interrupts};
use crate::usage::UsageError;
use crate::{http_client, report, terminal};

mod ledger;
mod notifications;
mod options;
mod own_spans;
mod preflight;
mod progress;
mod summary;
mod trace_trust;

pub(crate) use options::{Endpoints, RunOptions};
use progress::Progress;
pub(crate) use trace_trust::TraceTrust;

/// Time after which a request without a complete reply has failed.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
/// Timeout of requests to the collector and of the booking check.
const QUERY_TIMEOUT: Duration = Duration::from_secs(30);

/// Maximum duration of each request to the collector once [`Interrupts::hurry`] is cancelled.
const HURRY_GRACE: Duration = Duration::from_secs(3);

/// A run that has ended.
pub(crate) struct FinishedRun {
    pub(crate) bundle: Bundle,
    /// Whether the bundle was written; the report can be printed in any case.
    pub(crate) saved: anyhow::Result<()>,
}

/// The results of a run before they are summarized.
struct Results {
    driven: DriveOutcome,
    validity: Validity,
    hops: Vec<HopSummary>,
    bookings: BookingCounts,
    history: Vec<HistoryRow>,
    ledger: RunLedger,
}

/// Loads the system and writes the bundle. An interrupt ends the load early; the bundle is written nevertheless.
/// Requires a multi-threaded runtime.
pub(crate) async fn run(
    options: &RunOptions,
    endpoints: &Endpoints,
    interrupts: &Interrupts,
) -> anyhow::Result<FinishedRun> {
    let settings = telemetry_settings(&endpoints.otlp, options.sampling)?;
    let telemetry = telemetry::init("loadtest", "loadtest", &settings).context("cannot start telemetry")?;
    let finished = steps(options, endpoints, interrupts).await;
    // Dropping the guard blocks until the last spans are exported.
    tokio::task::spawn_blocking(move || drop(telemetry)).await?;
    finished
}

/// Runs the steps of a run in order.
async fn steps(
    options: &RunOptions,
    endpoints: &Endpoints,
    interrupts: &Interrupts,
) -> anyhow::Result<FinishedRun> {
    let Interrupts { stop, hurry } = interrupts;
    // Plan, then check the target, the collector and the output folder before anything is measured.
    let descriptor_limit = descriptors::limit();
    let workload = plan(options, endpoints)?;
    let (due, groups) = (summary::due(&workload), workload.groups);
    let http = http_client::builder().timeout(QUERY_TIMEOUT).build()?;
    let collector = CollectorClient::new(&endpoints.collector, http.clone());
    let checked = stop.run_until_cancelled(preflight::check(&http, &collector, endpoints)).await;
    checked.ok_or(Interrupted)?.map_err(UsageError)?;
    bundle::prepare_parent(&options.out, due.requests()).map_err(UsageError)?;
    collector.register(&groups.all()).await.context("cannot register the run at the collector")?;

    // Log in and warm up.
    let figures = Arc::new(DriveProgress::default());
    let progress = Progress::start(due.requests(), Arc::clone(&figures));
    let mut driver = Driver::start(workload, interrupts, figures)?;
    let mut baseline = None;
    if driver.log_in().await? {
        baseline =
            stop.run_until_cancelled(own_spans::baseline(&collector, groups)).await.and_then(Result::ok);
    }
    let monitor = MachineMonitor::start().context("cannot start the machine monitor")?;

    // Drive.
    if !stop.is_cancelled() {
        driver.drive().await?;
    }
    let mut driven = driver.finish(stop).await?;
    let machine = monitor.finish();

    // Wait for notifications and traces.
    let (bookings, history) = notifications::wait(&http, endpoints, &mut driven, &progress, hurry).await;
    let ledger = ledger::wait(&collector, &driven.measured, &progress, hurry).await;
    progress.finish();

    // Collect traces and analyse.
    let (hops, other_load) =
        within(hurry, own_spans::fetch(&collector, groups, baseline)).await.unwrap_or_default();
    let selected = within(hurry, SelectedTraces::fetch(&collector, &driven.measured)).await;
    let selected = selected.unwrap_or_else(|| SelectedTraces::none(&driven.measured));
    let archive = match within(hurry, CollectorArchive::fetch(&collector)).await {
        Some(Ok(archive)) => archive,
        Some(Err(error)) => without_traces(&error),
        None => without_traces(&anyhow!("it takes too long")),
    };
    let clock_skews = selected.clock_skews.clone();
    let surroundings = Surroundings { clock_skews, other_load, descriptor_limit, ..machine };
    // Without a time zero nothing was measured, so the figures have no verdict.
    let none = Measured::default();
    let validity = judge(if driven.zero.is_some() { &driven.measured } else { &none }, surroundings);
    let results = Results { driven, validity, hops, bookings, history, ledger };
    let run = summary::summarize(options, endpoints, &due, &results, &selected);

    // Write the bundle and the report.
    let mut bundle = Bundle::new(&options.out, run, selected.slow);
    let html = report::html(&bundle, &report::curves(&results.driven.measured));
    let saved = bundle.write(&results.driven, &archive, &html);
    Ok(FinishedRun { bundle, saved })
}

/// Runs a request to its end, or for [`HURRY_GRACE`] from the moment at which `hurry` is cancelled. `None` if it was too slow.
async fn within<T>(hurry: &CancellationToken, request: impl Future<Output = T>) -> Option<T> {
    let too_late = async {
        hurry.cancelled().await;
        tokio::time::sleep(HURRY_GRACE).await;
    };
    tokio::select! {
        done = request => Some(done),
        () = too_late => None,
    }
}

fn without_traces(error: &anyhow::Error) -> CollectorArchive {
    let why = terminal::describe(error);
    terminal::notice(format_args!(
        "the bundle has no traces, because the collector does not return them: {why}"
    ));
    CollectorArchive::default()
}

/// Plans the journeys. Fails if no request is due, or too many are.
fn plan(options: &RunOptions, endpoints: &Endpoints) -> anyhow::Result<Workload> {
    let spec = PlanSpec {
        profile: options.profile,
        rate: options.rate,
        duration: options.duration,
        seed: options.seed,
        mix: Mix::default(),
    };
    if spec.requests() == 0 {
        return Err(UsageError(anyhow!("no request is due: increase --rate or --duration")).into());
    }
    let users = options.users.map(|users| users as usize);
    let usage = |error: TooLarge| UsageError(error.into());
    spec.check_requests(users, LOG_IN_INTERVAL).map_err(usage)?;
    let oracle = Oracle::new(endpoints.tutors);
    let workload = Workload {
        target: endpoints.target.clone(),
        plan: spec.plan(oracle.tutor_ids()),
        oracle,
        students: endpoints.students,
        users,
        timeout: REQUEST_TIMEOUT,
        headers: endpoints.trust.headers().map_err(UsageError)?,
        groups: TraceGroups::random(),
        seed: options.seed,
    };
    spec.check_users(workload.users().iter().sum(), LOG_IN_INTERVAL).map_err(usage)?;
    Ok(workload)
}

fn telemetry_settings(otlp: &str, sampling: telemetry::Sampling) -> anyhow::Result<telemetry::Settings> {
    Ok(telemetry::Settings {
        otlp_endpoint: otlp.parse().context(format!("cannot export to {otlp}")).map_err(UsageError)?,
        // The report is written to stdout.
        log_filter: telemetry::LogFilter::off(),
        sampling,
        ..telemetry::Settings::default()
    })
}
