//! The planned journeys, executed by goose.
//!
//! One goose scenario for each kind of journey. A user logs in once, then takes the next planned journey of its
//! kind whenever it is free, and sends each request at its due instant; a request that is held back is sent late
//! and measured from its due instant, so a stall of the system shows in every request it delayed.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use ::goose::prelude::*;
use anyhow::Context as _;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::measure::{Held, Measured, Recorder};
use crate::plan::{self, Journey, PlannedJourney};

mod goose;
pub(crate) mod oracle;
mod pacer;
mod request;
mod send;

pub(crate) use self::goose::attack;
use oracle::Oracle;
use pacer::Pacer;
use request::Call;

/// Between two log-ins: a password hash takes a CPU some 20 ms, and the warm-up is not to be a burst of them.
const LOG_IN_EVERY: Duration = Duration::from_millis(40);
/// From the first sign of life to the first log-in, and from the end of the warm-up to time zero.
const HEAD_START: Duration = Duration::from_millis(300);
/// What a reply is allowed to take before a journey can find no free user.
const REPLY_ALLOWANCE: Duration = Duration::from_secs(1);
/// Idle connections are closed before any server does: one that is closed just as it is used again fails a request.
const IDLE_CONNECTION: Duration = Duration::from_secs(15);
/// How often a user without a journey asks whether goose wants it to stop.
const IDLE: Duration = Duration::from_millis(50);

/// What is sent, and to whom.
pub(crate) struct Attack {
    /// Base URL of the balancer.
    pub(crate) target: String,
    /// The schedule.
    pub(crate) plan: Vec<PlannedJourney>,
    /// The right answers.
    pub(crate) oracle: Oracle,
    /// Students 1 to this are seeded.
    pub(crate) students: u32,
    /// Goose users, instead of as many as the schedule needs.
    pub(crate) users: Option<usize>,
    /// A request without a complete reply after this has failed.
    pub(crate) timeout: Duration,
}

impl Attack {
    /// Goose users for each journey: as many as are under way at one time when every reply takes a second.
    pub(crate) fn users(&self) -> [usize; 3] {
        let needed = Journey::ALL.map(|journey| plan::concurrency(&self.plan, journey, REPLY_ALLOWANCE));
        let sum = needed.iter().sum::<usize>().max(1);
        match self.users {
            None => needed,
            Some(users) => needed.map(|n| if n == 0 { 0 } else { (n * users / sum).max(1) }),
        }
    }
}

/// What an attack leaves behind.
pub(crate) struct Aftermath {
    /// Everything measured.
    pub(crate) measured: Measured,
    /// A bearer token for each student that acted.
    pub(crate) tokens: BTreeMap<i64, Arc<str>>,
    /// When time zero was, if the schedule began at all.
    pub(crate) zero: Option<SystemTime>,
    /// From time zero to the last reply.
    pub(crate) lasted: Duration,
    /// Stopped before the schedule was done.
    pub(crate) interrupted: bool,
}

/// What is going on now, for the progress display.
#[derive(Default)]
pub(crate) struct Live {
    /// Log-ins done and to be done.
    pub(crate) logged_in: AtomicUsize,
    /// Goose users in all.
    pub(crate) users: AtomicUsize,
    /// Latencies from the due instant since somebody last took them.
    pub(crate) latencies_ns: Mutex<Vec<u64>>,
}

/// Shared by all users.
struct Load {
    target: send::Target,
    http: reqwest::Client,
    oracle: Oracle,
    students: i64,
    users: usize,
    queues: [Mutex<VecDeque<PlannedJourney>>; 3],
    next_user: AtomicUsize,
    started: Instant,
    zero: watch::Sender<Option<Instant>>,
    logged_in: watch::Sender<usize>,
    walked: watch::Sender<usize>,
    recorders: Mutex<Vec<Recorder>>,
    tokens: Mutex<BTreeMap<i64, Arc<str>>>,
    pacer: Pacer,
    stop: CancellationToken,
    live: Arc<Live>,
}

/// What one user keeps from journey to journey.
#[derive(Clone)]
struct Session {
    student: i64,
    token: Arc<str>,
    recorder: Recorder,
}

impl Load {
    fn new(attack: Attack, stop: CancellationToken, live: Arc<Live>) -> anyhow::Result<Self> {
        let users = attack.users().iter().sum();
        live.users.store(users, Ordering::Relaxed);
        let mut queues: [VecDeque<PlannedJourney>; 3] = Default::default();
        for planned in attack.plan {
            queues[planned.journey as usize].push_back(planned);
        }
        Ok(Load {
            target: send::Target::parse(&attack.target)?,
            http: http(attack.timeout)?,
            oracle: attack.oracle,
            students: i64::from(attack.students.max(1)),
            users,
            queues: queues.map(Mutex::new),
            next_user: AtomicUsize::new(0),
            started: Instant::now() + HEAD_START,
            zero: watch::Sender::new(None),
            logged_in: watch::Sender::new(0),
            walked: watch::Sender::new(0),
            recorders: Mutex::default(),
            tokens: Mutex::default(),
            pacer: Pacer::start().context("cannot start the pacer's thread")?,
            stop,
            live,
        })
    }

    /// Returns at `due`; `false` if the run is stopped before.
    async fn wait(&self, due: Instant) -> bool {
        tokio::select! {
            biased;
            () = self.stop.cancelled() => false,
            () = self.pacer.until(due) => true,
        }
    }

    /// Time zero, once it is known; `None` if the run is stopped before.
    async fn zero(&self) -> Option<Instant> {
        let mut zero = self.zero.subscribe();
        tokio::select! {
            biased;
            () = self.stop.cancelled() => None,
            zero = zero.wait_for(Option::is_some) => zero.ok().and_then(|zero| *zero),
        }
    }

    fn next(&self, journey: Journey) -> Option<PlannedJourney> {
        lock(&self.queues[journey as usize]).pop_front()
    }

    fn recorder(&self) -> Recorder {
        let recorder = Recorder::default();
        lock(&self.recorders).push(recorder.clone());
        recorder
    }
}

/// The client that all users share; goose's own builder cannot set all of this.
fn http(timeout: Duration) -> anyhow::Result<reqwest::Client> {
    let client = reqwest::Client::builder()
        .timeout(timeout)
        .pool_idle_timeout(IDLE_CONNECTION)
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .build()?;
    Ok(client)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Counts one up when dropped, so that a user that panics is waited for no longer than one that is done.
struct CountsOnDrop<'a>(&'a watch::Sender<usize>);

impl Drop for CountsOnDrop<'_> {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count += 1);
    }
}

/// Each user's first step: logs in as a student of its own, in its turn.
async fn log_in(user: &mut GooseUser, load: Arc<Load>) -> TransactionResult {
    let _counted = CountsOnDrop(&load.logged_in);
    user.client = load.http.clone();
    let index = load.next_user.fetch_add(1, Ordering::Relaxed);
    let mut session = Session {
        student: index as i64 % load.students + 1,
        token: Arc::from(""),
        recorder: load.recorder(),
    };
    let due = load.started + LOG_IN_EVERY * index as u32;
    if load.wait(due).await {
        let call = Call::log_in(session.student);
        let timing = send::Timing { due, epoch: load.started, warm_up: true, held: Held::Free };
        if let Some(token) = send::send(user, &load, &session, call, timing).await?.token {
            session.token = token.into();
            lock(&load.tokens).insert(session.student, Arc::clone(&session.token));
        }
    }
    load.live.logged_in.fetch_add(1, Ordering::Relaxed);
    user.set_session_data(session);
    Ok(())
}

/// What a user does over and over: the next planned journey of its kind, or nothing for a moment.
async fn next_journey(user: &mut GooseUser, load: Arc<Load>, journey: Journey) -> TransactionResult {
    let session = user.get_session_data::<Session>().cloned();
    let planned = match (load.zero().await, session) {
        (Some(zero), Some(session)) => load.next(journey).map(|planned| (zero, session, planned)),
        _ => None,
    };
    let Some((zero, session, planned)) = planned else {
        tokio::time::sleep(IDLE).await;
        return Ok(());
    };
    let _counted = CountsOnDrop(&load.walked);
    walk(user, &load, &session, zero, planned).await
}

async fn walk(
    user: &mut GooseUser,
    load: &Load,
    session: &Session,
    zero: Instant,
    planned: PlannedJourney,
) -> TransactionResult {
    let (mut free_since, mut held_by) = (Instant::now(), Held::NoUser);
    let mut booked = None;
    for step in planned.steps {
        let due = zero + step.due;
        let held = if free_since > due { held_by } else { Held::Free };
        if !load.wait(due).await {
            break;
        }
        let call = Call::of(&step.action, session, load, booked);
        let timing = send::Timing { due, epoch: zero, warm_up: false, held };
        let facts = send::send(user, load, session, call, timing).await?;
        booked = facts.booking.or(booked);
        (free_since, held_by) = (Instant::now(), Held::Predecessor);
    }
    Ok(())
}
