//! One attack from the first log-in to the last reply.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use anyhow::Context as _;
use goose::GooseAttack;
use goose::client::GooseClientBuilder;
use goose::config::GooseConfiguration;
use goose::prelude::*;
use tokio_util::sync::CancellationToken;

use super::{Aftermath, Attack, HEAD_START, Live, Load, lock, log_in, next_journey};
use crate::measure::Measured;
use crate::plan::Journey;

/// Goose starts a user every few milliseconds; each waits for its own turn to log in.
const USERS_STARTED_A_SECOND: &str = "200";
/// How often goose is told to stop until it does.
const STOP_EVERY: Duration = Duration::from_millis(100);

/// Executes the attack, or as much of it as there is until `stop`. `between` runs after the warm-up and before time zero.
pub(crate) async fn attack<T>(
    attack: Attack,
    stop: &CancellationToken,
    live: Arc<Live>,
    between: impl Future<Output = T>,
) -> anyhow::Result<(Aftermath, Option<T>)> {
    silence_goose();
    let users = attack.users();
    let journeys = attack.plan.len();
    let load = Arc::new(Load::new(attack, stop.child_token(), live)?);
    let goose = configure(&load, users)?;
    let mut goose = tokio::spawn(async move { goose.execute().await.map(|_| ()) });

    let schedule = follow_schedule(&load, journeys, between);
    let (zero, between) = tokio::select! {
        outcome = schedule => outcome,
        ended = &mut goose => {
            ended.context("goose panicked")?.context("goose gave up")?;
            anyhow::bail!("goose ended before the schedule did");
        }
    };
    let interrupted = stop.is_cancelled();
    // Users that still wait for a due instant end now; requests that were sent are awaited.
    load.stop.cancel();
    let ended = loop {
        goose::trigger_killswitch("the schedule is done");
        if let Ok(ended) = tokio::time::timeout(STOP_EVERY, &mut goose).await {
            break ended;
        }
    };
    ended.context("goose panicked")?.context("goose gave up")?;
    Ok((aftermath(&load, zero, interrupted), between))
}

/// Log-ins, then `between`, then time zero, then every journey: or until stopped.
async fn follow_schedule<T>(
    load: &Load,
    journeys: usize,
    between: impl Future<Output = T>,
) -> (Option<(Instant, SystemTime)>, Option<T>) {
    let (mut logged_in, mut walked) = (load.logged_in.subscribe(), load.walked.subscribe());
    let schedule = async {
        let _ = logged_in.wait_for(|count| *count >= load.users).await;
        between.await
    };
    let between = tokio::select! {
        between = schedule => between,
        () = load.stop.cancelled() => return (None, None),
    };
    let zero = (Instant::now() + HEAD_START, SystemTime::now() + HEAD_START);
    load.zero.send_replace(Some(zero.0));
    tokio::select! {
        _ = walked.wait_for(|count| *count >= journeys) => {}
        () = load.stop.cancelled() => {}
    }
    (Some(zero), Some(between))
}

fn aftermath(load: &Load, zero: Option<(Instant, SystemTime)>, interrupted: bool) -> Aftermath {
    let mut measured = Measured::default();
    for recorder in lock(&load.recorders).iter() {
        measured.merge(recorder.take());
    }
    measured.samples.sort_by_key(|sample| (!sample.warm_up, sample.due));
    let lasted_ns = measured
        .phase(false)
        .map(|sample| sample.due.as_nanos() as u64 + sample.latency_ns)
        .max()
        .unwrap_or_default();
    let tokens = std::mem::take(&mut *lock(&load.tokens));
    let lasted = Duration::from_nanos(lasted_ns);
    Aftermath { measured, tokens, zero: zero.map(|(_, at)| at), lasted, interrupted }
}

fn configure(load: &Arc<Load>, users: [usize; 3]) -> anyhow::Result<GooseAttack> {
    let mut configuration = GooseConfiguration::default();
    configuration.host = Some(load.target.base.clone());
    configuration.users = Some(load.users);
    configuration.increase_rate = Some(USERS_STARTED_A_SECOND.into());
    configuration.quiet = 1;
    configuration.no_telnet = true;
    configuration.no_websocket = true;
    configuration.no_metrics = true;
    configuration.no_print_metrics = true;
    // One client for all users, instead of one each, until the log-in replaces it by ours.
    let client = GooseClientBuilder::new().without_cookies();
    let mut attack =
        GooseAttack::initialize_with_config(configuration)?.set_client_builder_without_cookies(client)?;
    for (journey, users) in Journey::ALL.into_iter().zip(users).filter(|(_, users)| *users > 0) {
        let (for_log_in, for_journey) = (Arc::clone(load), Arc::clone(load));
        let log_in = Transaction::new(Arc::new(move |user| Box::pin(log_in(user, Arc::clone(&for_log_in)))));
        let walk = Transaction::new(Arc::new(move |user| {
            Box::pin(next_journey(user, Arc::clone(&for_journey), journey))
        }));
        let scenario = Scenario::new(journey.name())
            .set_weight(users)?
            .register_transaction(log_in.set_name("log in").set_on_start())
            .register_transaction(walk.set_name(journey.name()));
        attack = attack.register_scenario(scenario);
    }
    Ok(attack)
}

/// Goose logs to stdout, where the report goes. A logger that says nothing keeps it from installing its own.
fn silence_goose() {
    static SILENCE: Silence = Silence;
    // An error means that there is a logger, which is as good.
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
