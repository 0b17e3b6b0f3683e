//! One load run, from its options to its bundle.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use tokio_util::sync::CancellationToken;

use crate::analysis::hops;
use crate::analysis::traces::SelectedTraces;
use crate::bundle::collector_files::CollectorArchive;
use crate::bundle::schema::{BookingCounts, HopSummary, RunLedger};
use crate::bundle::{self, Bundle};
use crate::collector_client::CollectorClient;
use crate::drive::oracle::Oracle;
use crate::drive::{DriveOutcome, DriveProgress, Driver, Workload};
use crate::measure::Measured;
use crate::measure::validity::{MachineMonitor, Validity};
use crate::plan::{Mix, PlanSpec};
use crate::usage::UsageError;
use crate::{http_client, report, terminal};

mod ledger;
mod notifications;
mod options;
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
    ledger: RunLedger,
}

/// Loads the system and writes the bundle. `stop` ends the load early; the bundle is written nevertheless.
/// Requires a multi-threaded runtime.
pub(crate) async fn run(
    options: &RunOptions,
    endpoints: &Endpoints,
    stop: &CancellationToken,
) -> anyhow::Result<FinishedRun> {
    let settings = telemetry_settings(&endpoints.otlp, options.sampling)?;
    let telemetry = telemetry::init("loadtest", "loadtest", &settings).context("cannot start telemetry")?;
    let finished = steps(options, endpoints, stop).await;
    // Dropping the guard blocks until the last spans are exported.
    tokio::task::spawn_blocking(move || drop(telemetry)).await?;
    finished
}

/// Runs the steps of a run in order.
async fn steps(
    options: &RunOptions,
    endpoints: &Endpoints,
    stop: &CancellationToken,
) -> anyhow::Result<FinishedRun> {
    // Check the target, the collector and the output folder before anything is measured.
    let http = http_client::builder().timeout(QUERY_TIMEOUT).build()?;
    let collector = CollectorClient::new(&endpoints.collector, http.clone());
    preflight::check(&http, &collector, endpoints).await.map_err(UsageError)?;

    // Plan.
    let workload = plan(options, endpoints)?;
    let due = summary::due(&workload);
    bundle::prepare_parent(&options.out, due.requests()).map_err(UsageError)?;

    // Log in and warm up.
    let figures = Arc::new(DriveProgress::default());
    let progress = Progress::start(due.requests(), Arc::clone(&figures));
    let mut driver = Driver::start(workload, stop, figures)?;
    let mut baseline = None;
    if driver.log_in().await? {
        baseline = stop.run_until_cancelled(collector.hops_at_rest()).await.and_then(Result::ok);
    }
    let monitor = MachineMonitor::start().context("cannot start the machine monitor")?;

    // Drive.
    if !stop.is_cancelled() {
        driver.drive().await?;
    }
    let driven = driver.finish(stop).await?;
    // Without a time zero nothing was measured, so the run has no verdict.
    let none = Measured::default();
    let validity = monitor.finish(if driven.zero.is_some() { &driven.measured } else { &none });

    // Wait for notifications and traces.
    let bookings = notifications::wait(&http, endpoints, &driven, &progress).await;
    let ledger = ledger::wait(&collector, &driven.measured, &progress).await;
    // Without both snapshots the spans of the run cannot be distinguished from others; the table stays empty.
    let hops = match (baseline, collector.hops().await) {
        (Some(before), Ok(after)) => hops::difference(&before, after),
        _ => Vec::new(),
    };
    progress.finish();

    // Collect traces and analyse.
    let selected = SelectedTraces::fetch(&collector, &driven.measured).await;
    let archive = CollectorArchive::fetch(&collector).await.unwrap_or_else(|error| {
        let why = terminal::describe(&error);
        terminal::notice(format_args!(
            "the bundle has no traces, because the collector does not return them: {why}"
        ));
        CollectorArchive::default()
    });
    let results = Results { driven, validity, hops, bookings, ledger };
    let run = summary::summarize(options, endpoints, &due, &results, &selected);

    // Write the bundle and the report.
    let mut bundle = Bundle::new(&options.out, run, selected.slow);
    let html = report::html(&bundle, &report::curves(&results.driven.measured));
    let saved = bundle.write(&results.driven, &archive, &html);
    Ok(FinishedRun { bundle, saved })
}

/// Plans the journeys. Fails if no request is due.
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
    let oracle = Oracle::new(endpoints.tutors);
    Ok(Workload {
        target: endpoints.target.clone(),
        plan: spec.plan(oracle.tutor_ids()),
        oracle,
        students: endpoints.students,
        users: options.users.map(|users| users as usize),
        timeout: REQUEST_TIMEOUT,
        headers: endpoints.trust.headers().map_err(UsageError)?,
    })
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
