//! One load run from its options to its bundle: profile and journeys in, a [`schema::Run`] out.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use tokio_util::sync::CancellationToken;

use crate::analysis::{hops, traces};
use crate::bundle::collector_files::Kept;
use crate::bundle::schema::{self, Bookings, RunLedger};
use crate::bundle::{self, Bundle};
use crate::collector_client::CollectorClient;
use crate::drive::oracle::Oracle;
use crate::drive::{self, Aftermath, Attack, Live};
use crate::measure::Measured;
use crate::measure::validity::{Validity, Watch};
use crate::plan::{Mix, Spec};
use crate::report;
use crate::usage::UsageError;

mod ledger;
mod notifications;
mod options;
mod preflight;
mod progress;
mod summary;

pub(crate) use options::{Endpoints, Shape};
use progress::Progress;

/// A request without a complete reply after this has failed.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
/// The collector and the check of the bookings are asked no longer than this.
const ASKING_TIMEOUT: Duration = Duration::from_secs(30);

/// Everything found out by the time that the last reply is in and everything else has settled.
struct Found {
    after: Aftermath,
    validity: Validity,
    hops: Vec<schema::Hop>,
    bookings: Bookings,
    ledger: RunLedger,
}

/// Loads the system and writes the bundle. `stop` ends the run early; what was measured is written all the same.
/// Needs a runtime of several threads.
pub(crate) async fn execute(
    shape: &Shape,
    endpoints: &Endpoints,
    stop: &CancellationToken,
) -> anyhow::Result<Bundle> {
    let settings = telemetry_settings(&endpoints.otlp, shape.sampling)?;
    let telemetry = telemetry::init("loadtest", "loadtest", &settings).context("telemetry does not start")?;
    let finished = execute_traced(shape, endpoints, stop).await;
    // Dropping the guard blocks until the last spans are out.
    tokio::task::spawn_blocking(move || drop(telemetry)).await?;
    finished
}

async fn execute_traced(
    shape: &Shape,
    endpoints: &Endpoints,
    stop: &CancellationToken,
) -> anyhow::Result<Bundle> {
    let http = reqwest::Client::builder().timeout(ASKING_TIMEOUT).build()?;
    let collector = CollectorClient::new(&endpoints.collector, http.clone());
    preflight::check(&http, &collector, endpoints).await.map_err(UsageError)?;
    // Now, and not when the run has been measured and cannot be kept.
    bundle::make_room(&shape.out).map_err(UsageError)?;

    let spec = Spec {
        profile: shape.profile,
        rate: shape.rate,
        duration: shape.duration,
        seed: shape.seed,
        mix: Mix::default(),
    };
    if spec.requests() == 0 {
        return Err(UsageError(anyhow!("not one request is due: raise --rate or --duration")).into());
    }
    let oracle = Oracle::new(endpoints.tutors);
    let attack = Attack {
        target: endpoints.target.clone(),
        plan: spec.plan(oracle.tutor_ids()),
        oracle,
        students: endpoints.students,
        users: shape.users.map(|users| users as usize),
        timeout: REQUEST_TIMEOUT,
    };
    let due = summary::due(&attack);
    let found = load(attack, spec.requests(), &http, &collector, endpoints, stop).await?;

    let chosen = traces::fetch(&collector, &found.after.measured).await;
    let kept = Kept::fetch(&collector).await.unwrap_or_else(|error| {
        eprintln!("the run cannot be opened again, for the collector does not give its traces: {error:#}");
        Kept::default()
    });
    let run = summary::summarize(shape, endpoints, &due, &found, &chosen);
    let bundle = Bundle::new(&shape.out, run, chosen.slow)?;
    let html = report::html(&bundle, &report::curves(&found.after.measured));
    bundle.write(&found.after, &kept, &html)?;
    Ok(bundle)
}

/// The attack, and then everything that has to settle after it.
async fn load(
    attack: Attack,
    requests: usize,
    http: &reqwest::Client,
    collector: &CollectorClient,
    endpoints: &Endpoints,
    stop: &CancellationToken,
) -> anyhow::Result<Found> {
    let live = Arc::new(Live::default());
    let progress = Progress::start(requests, Arc::clone(&live));
    let between = async {
        let before = collector.hops_at_rest().await.ok();
        Watch::start().map(|watch| (watch, before))
    };
    let (after, between) = drive::attack(attack, stop, live, between).await?;
    let (validity, before) = match between {
        Some(between) => {
            let (watch, before) = between.context("cannot start the watch")?;
            (watch.finish(&after.measured), before)
        }
        // Stopped during the warm-up: nothing was watched.
        None => (Watch::start()?.finish(&Measured::default()), None),
    };
    let check = notifications::Check {
        http: http.clone(),
        target: endpoints.target.trim_end_matches('/').to_owned(),
        tokens: after.tokens.clone(),
    };
    let accepted = &after.measured.accepted;
    let bookings = check.settled(accepted, |notified| progress.notified(notified, accepted.len())).await;
    let ledger = ledger::wait(collector, &after.measured, |ledger| progress.ledger(ledger)).await;
    // Without the one or the other nobody knows which spans are the run's own: better none than all.
    let hops = match (before, collector.hops().await) {
        (Some(before), Ok(after)) => hops::difference(&before, after),
        _ => Vec::new(),
    };
    progress.finish();
    Ok(Found { after, validity, hops, bookings, ledger })
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
