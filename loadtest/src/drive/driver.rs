//! One load from the first log-in to the last reply.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use anyhow::Context as _;
use goose::GooseAttack;
use goose::client::GooseClientBuilder;
use goose::config::GooseConfiguration;
use goose::prelude::*;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::{Dispatcher, DriveOutcome, DriveProgress, HEAD_START, Workload, lock, log_in, next_journey};
use crate::measure::Measured;
use crate::plan::{JOURNEYS, Journey};
use crate::stop::Interrupts;

/// Rate at which goose starts users. Each user then waits for its own log-in time.
const USERS_STARTED_A_SECOND: &str = "200";
/// Interval at which the stop request to goose is repeated until goose has ended.
const STOP_INTERVAL: Duration = Duration::from_millis(100);

/// A running load. The steps are [`Driver::start`], [`Driver::log_in`], [`Driver::drive`] and [`Driver::finish`].
pub(crate) struct Driver {
    dispatcher: Arc<Dispatcher>,
    goose: JoinHandle<Result<(), GooseError>>,
    journeys: usize,
    zero: Option<SystemTime>,
}

impl Driver {
    /// Starts goose, whose users then log in one after another. An interrupt ends the load early, another one the wait for
    /// replies.
    pub(crate) fn start(
        workload: Workload,
        interrupts: &Interrupts,
        progress: Arc<DriveProgress>,
    ) -> anyhow::Result<Self> {
        silence_goose();
        let users = workload.users();
        let journeys = workload.plan.len();
        let (stop, abandon) = (interrupts.stop.child_token(), interrupts.hurry.clone());
        let dispatcher = Arc::new(Dispatcher::new(workload, stop, abandon, progress)?);
        let attack = configure(&dispatcher, users)?;
        let goose = tokio::spawn(async move { attack.execute().await.map(|_| ()) });
        Ok(Self { dispatcher, goose, journeys, zero: None })
    }

    /// Waits until every user has logged in. Returns `false` if the load was stopped first.
    pub(crate) async fn log_in(&mut self) -> anyhow::Result<bool> {
        let users = self.dispatcher.users;
        let logged_in = self.dispatcher.logged_in.subscribe();
        self.count(logged_in, users).await
    }

    /// Sets time zero and waits until every planned journey has run, or the load is stopped.
    pub(crate) async fn drive(&mut self) -> anyhow::Result<()> {
        let (zero, journeys) = (Instant::now() + HEAD_START, self.journeys);
        self.zero = Some(SystemTime::now() + HEAD_START);
        let completed = self.dispatcher.completed.subscribe();
        let _ = self.dispatcher.progress.zero.set(zero);
        self.dispatcher.zero.send_replace(Some(zero));
        self.count(completed, journeys).await.map(drop)
    }

    /// Ends waiting users, waits for the replies to requests that were sent, and returns the measurements.
    pub(crate) async fn finish(mut self, stop: &CancellationToken) -> anyhow::Result<DriveOutcome> {
        let interrupted = stop.is_cancelled();
        let stopped = Instant::now();
        self.dispatcher.stop.cancel();
        let ended = loop {
            goose::trigger_killswitch("all planned journeys have run");
            if let Ok(ended) = tokio::time::timeout(STOP_INTERVAL, &mut self.goose).await {
                break ended;
            }
        };
        ended.context("goose panicked")?.context("goose failed")?;
        let mut outcome = outcome(&self.dispatcher, self.zero, interrupted);
        let progress = &self.dispatcher.progress;
        if let Some(zero) = progress.zero.get() {
            let until = stopped.saturating_duration_since(*zero);
            for (_, kind) in lock(&progress.outstanding).due_by(until) {
                *outcome.measured.overdue.entry(kind).or_default() += 1;
            }
        }
        Ok(outcome)
    }

    /// Waits until `counter` reaches `target`. Returns `false` if the load was stopped first.
    async fn count(&mut self, mut counter: watch::Receiver<usize>, target: usize) -> anyhow::Result<bool> {
        tokio::select! {
            _ = counter.wait_for(|count| *count >= target) => Ok(true),
            () = self.dispatcher.stop.cancelled() => Ok(false),
            ended = &mut self.goose => {
                ended.context("goose panicked")?.context("goose failed")?;
                anyhow::bail!("goose ended before all planned journeys had run")
            }
        }
    }
}

fn outcome(dispatcher: &Dispatcher, zero: Option<SystemTime>, interrupted: bool) -> DriveOutcome {
    let mut measured = Measured::default();
    for recorder in lock(&dispatcher.recorders).iter() {
        measured.merge(recorder.take());
    }
    measured.samples.sort_by_key(|sample| (!sample.warm_up, sample.due));
    let lasted_ns = measured
        .phase(false)
        .map(|sample| sample.due.as_nanos() as u64 + sample.latency_ns)
        .max()
        .unwrap_or_default();
    let tokens = std::mem::take(&mut *lock(&dispatcher.tokens));
    let lasted = Duration::from_nanos(lasted_ns);
    let history = std::mem::take(&mut *lock(&dispatcher.history));
    DriveOutcome { measured, history, origin: dispatcher.origin, tokens, zero, lasted, interrupted }
}

fn configure(dispatcher: &Arc<Dispatcher>, users: [usize; JOURNEYS]) -> anyhow::Result<GooseAttack> {
    let mut configuration = GooseConfiguration::default();
    configuration.host = Some(dispatcher.target.base.clone());
    configuration.users = Some(dispatcher.users);
    configuration.increase_rate = Some(USERS_STARTED_A_SECOND.into());
    configuration.quiet = 1;
    configuration.no_telnet = true;
    configuration.no_websocket = true;
    configuration.no_metrics = true;
    configuration.no_print_metrics = true;
    // Goose shares one client until the log-in replaces it with ours.
    let client = GooseClientBuilder::new().without_cookies();
    let mut attack =
        GooseAttack::initialize_with_config(configuration)?.set_client_builder_without_cookies(client)?;
    for (journey, users) in Journey::ALL.into_iter().zip(users).filter(|(_, users)| *users > 0) {
        let (for_log_in, for_journey) = (Arc::clone(dispatcher), Arc::clone(dispatcher));
        let log_in = Transaction::new(Arc::new(move |user| Box::pin(log_in(user, Arc::clone(&for_log_in)))));
        let run = Transaction::new(Arc::new(move |user| {
            Box::pin(next_journey(user, Arc::clone(&for_journey), journey))
        }));
        let scenario = Scenario::new(journey.name())
            .set_weight(users)?
            .register_transaction(log_in.set_name("log in").set_on_start())
            .register_transaction(run.set_name(journey.name()));
        attack = attack.register_scenario(scenario);
    }
    Ok(attack)
}

/// Keeps goose from installing its own logger, which writes to stdout, where the report goes.
fn silence_goose() {
    static SILENCE: Silence = Silence;
    // An error means that a logger is installed already, which serves the same purpose.
    let _ = log::set_logger(&SILENCE);
}

struct Silence;

impl log::Log for Silence {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        false
    }

    fn log(&self, _: &log::Record<'_>) {}

    fn flush(&self) {}
}
