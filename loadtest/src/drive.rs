//! Sends the planned requests with goose.
//!
//! There is one goose scenario for each kind of journey. A user logs in once, then repeatedly takes the next planned
//! journey of its kind and sends each request at its due instant. A delayed request is still measured from its due
//! instant, so a stall of the system shows in every request that it delayed.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use anyhow::Context as _;
use collector::trace::TraceGroup;
use goose::prelude::*;
use reqwest::header::HeaderMap;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::http_client;
use crate::measure::history::History;
use crate::measure::{DelayCause, Measured, Recorder};
use crate::plan::{self, JOURNEYS, Journey, PlannedJourney};

mod delays;
mod driver;
mod journey;
mod journey_state;
mod observe;
pub(crate) mod oracle;
mod outstanding;
mod pacer;
mod progress;
mod request;
mod retry;
mod send;

use delays::{Delay, UserDelays};
pub(crate) use driver::Driver;
use oracle::Oracle;
use outstanding::Outstanding;
use pacer::Pacer;
pub(crate) use progress::DriveProgress;
use request::{Failure, Request};
use retry::Silence;

/// Interval between two log-ins. Verifying a password takes about 20 ms of CPU time; a burst of log-ins would distort
/// the warm-up.
pub(crate) const LOG_IN_INTERVAL: Duration = Duration::from_millis(40);
/// Delay before the first log-in, and between the end of the warm-up and time zero.
const HEAD_START: Duration = Duration::from_millis(300);
/// Assumed maximum reply time when the number of users is derived from the plan.
const REPLY_ALLOWANCE: Duration = Duration::from_secs(1);
/// Idle connections are closed after this time, before any server closes them: reusing a connection at the moment
/// the server closes it fails the request.
const IDLE_CONNECTION_TIMEOUT: Duration = Duration::from_secs(15);
/// A tutor offers at least 12 hours on each day of eight weeks, which is more than 1200 starts, and a booking of the tutor or of the
/// student takes at most three of them.
const FEWEST_BOOKINGS_OF_FULL_CALENDARS: i64 = 400;
/// Pause of a user that has no journey, after which goose can stop it.
const IDLE_PAUSE: Duration = Duration::from_millis(50);

/// The requests to send and the system that receives them.
pub(crate) struct Workload {
    /// Base URL of the balancer.
    pub(crate) target: String,
    /// The planned journeys.
    pub(crate) plan: Vec<PlannedJourney>,
    /// The expected replies.
    pub(crate) oracle: Oracle,
    /// Number of seeded students; their ids start at 1.
    pub(crate) students: u32,
    /// Number of goose users; `None` derives it from the plan.
    pub(crate) users: Option<usize>,
    /// Time after which a request without a complete reply has failed.
    pub(crate) timeout: Duration,
    /// Headers of every request.
    pub(crate) headers: HeaderMap,
    /// Seed of the plan.
    pub(crate) seed: u64,
    /// The first halves of the trace ids.
    pub(crate) groups: TraceGroups,
}

/// The groups of a run's traces, by which the collector separates them from all other load.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TraceGroups {
    /// Log-ins before time zero.
    pub(crate) warm_up: TraceGroup,
    /// Requests of users.
    pub(crate) users: TraceGroup,
    /// Requests of intruders.
    pub(crate) intruders: TraceGroup,
}

impl TraceGroups {
    /// Returns the groups of a new run. They do not depend on the seed: two runs of one seed may be under way.
    pub(crate) fn random() -> Self {
        // Never zero, which is the group of 64-bit ids.
        let run = rand::random::<u64>() | 4;
        let group = |class| TraceGroup((run & !3) | class);
        TraceGroups { warm_up: group(1), users: group(2), intruders: group(3) }
    }

    /// Returns the id of the run, which all groups share.
    fn run(&self) -> u64 {
        self.users.0 >> 2
    }

    /// Returns all groups.
    pub(crate) fn all(&self) -> [TraceGroup; 3] {
        [self.warm_up, self.users, self.intruders]
    }
}

impl Workload {
    /// Returns the number of goose users for each journey: the maximum number of concurrent journeys if every reply
    /// takes one second.
    pub(crate) fn users(&self) -> [usize; JOURNEYS] {
        let needed = Journey::ALL.map(|journey| plan::concurrency(&self.plan, journey, REPLY_ALLOWANCE));
        let sum = needed.iter().sum::<usize>().max(1);
        match self.users {
            None => needed,
            Some(users) => needed.map(|n| if n == 0 { 0 } else { (n * users / sum).max(1) }),
        }
    }
}

/// Measurements and facts of a finished load.
pub(crate) struct DriveOutcome {
    /// The merged measurements of all users.
    pub(crate) measured: Measured,
    /// What the users saw of bookings and slots.
    pub(crate) history: History,
    /// The instant from which the times of `history` are measured.
    pub(crate) origin: Instant,
    /// A bearer token for each student that logged in.
    pub(crate) tokens: BTreeMap<i64, Arc<str>>,
    /// Wall-clock time zero of the plan; `None` if the run was stopped during the warm-up.
    pub(crate) zero: Option<SystemTime>,
    /// Time from time zero to the last reply.
    pub(crate) lasted: Duration,
    /// Whether the run was stopped before all planned requests were sent.
    pub(crate) interrupted: bool,
}

/// Distributes the planned journeys to the users; shared by all of them.
struct Dispatcher {
    target: send::Target,
    http: reqwest::Client,
    oracle: Oracle,
    students: i64,
    users: usize,
    /// The journeys that are left, each with its position in the plan.
    queues: [Mutex<VecDeque<(usize, PlannedJourney)>>; JOURNEYS],
    /// First part of every idempotency key: a second run with the same seed books anew.
    keys: String,
    silence: Silence,
    /// The highest id of a booking that was confirmed so far.
    highest_booking: AtomicI64,
    /// What the users saw; its times are measured from [`Self::origin`].
    history: Mutex<History>,
    origin: Instant,
    next_user: AtomicUsize,
    started: Instant,
    zero: watch::Sender<Option<Instant>>,
    logged_in: watch::Sender<usize>,
    completed: watch::Sender<usize>,
    recorders: Mutex<Vec<Recorder>>,
    tokens: Mutex<BTreeMap<i64, Arc<str>>>,
    pacer: Pacer,
    groups: TraceGroups,
    stop: CancellationToken,
    /// Ends the wait for replies to requests that were sent.
    abandon: CancellationToken,
    progress: Arc<DriveProgress>,
}

/// The data that a user keeps between journeys.
#[derive(Clone)]
struct Session {
    student: i64,
    /// The token, or why the log-in failed.
    token: Result<Arc<str>, Failure>,
    recorder: Recorder,
    delays: UserDelays,
}

impl Dispatcher {
    fn new(
        workload: Workload,
        stop: CancellationToken,
        abandon: CancellationToken,
        progress: Arc<DriveProgress>,
    ) -> anyhow::Result<Self> {
        let users = workload.users().iter().sum();
        progress.users.store(users, Ordering::Relaxed);
        *lock(&progress.outstanding) = Outstanding::of(&workload.plan);
        let mut queues: [VecDeque<(usize, PlannedJourney)>; JOURNEYS] = Default::default();
        for (position, planned) in workload.plan.into_iter().enumerate() {
            queues[planned.journey as usize].push_back((position, planned));
        }
        Ok(Dispatcher {
            target: send::Target::parse(&workload.target)?,
            http: http(workload.timeout, workload.headers)?,
            oracle: workload.oracle,
            students: i64::from(workload.students.max(1)),
            users,
            queues: queues.map(Mutex::new),
            keys: format!("{}-{:x}", workload.seed, workload.groups.run()),
            silence: Silence::default(),
            highest_booking: AtomicI64::new(0),
            history: Mutex::default(),
            origin: Instant::now(),
            next_user: AtomicUsize::new(0),
            started: Instant::now() + HEAD_START,
            zero: watch::Sender::new(None),
            logged_in: watch::Sender::new(0),
            completed: watch::Sender::new(0),
            recorders: Mutex::default(),
            tokens: Mutex::default(),
            pacer: Pacer::start().context("cannot start the pacer thread")?,
            groups: workload.groups,
            stop,
            abandon,
            progress,
        })
    }

    /// Waits until `due`; returns `false` if the run is stopped first.
    async fn wait(&self, due: Instant) -> bool {
        tokio::select! {
            biased;
            () = self.stop.cancelled() => false,
            () = self.pacer.until(due) => true,
        }
    }

    /// Waits for time zero; returns `None` if the run is stopped first.
    async fn zero(&self) -> Option<Instant> {
        let mut zero = self.zero.subscribe();
        tokio::select! {
            biased;
            () = self.stop.cancelled() => None,
            zero = zero.wait_for(Option::is_some) => zero.ok().and_then(|zero| *zero),
        }
    }

    fn next(&self, journey: Journey) -> Option<(usize, PlannedJourney)> {
        lock(&self.queues[journey as usize]).pop_front()
    }

    /// Returns whether a tutor and a student may have no free slot in common. Ids of bookings are consecutive, so the highest one
    /// bounds the number of bookings that there are.
    fn may_be_full(&self) -> bool {
        self.highest_booking.load(Ordering::Relaxed) + self.users as i64 >= FEWEST_BOOKINGS_OF_FULL_CALENDARS
    }

    /// Returns the time from the origin of the history to `at`.
    fn since_origin(&self, at: Instant) -> Duration {
        at.saturating_duration_since(self.origin)
    }

    fn recorder(&self) -> Recorder {
        let recorder = Recorder::default();
        lock(&self.recorders).push(recorder.clone());
        recorder
    }
}

/// Returns the client that all users share. Goose's own builder does not offer all of these settings.
fn http(timeout: Duration, headers: HeaderMap) -> anyhow::Result<reqwest::Client> {
    let client = http_client::builder()
        .default_headers(headers)
        .timeout(timeout)
        .pool_idle_timeout(IDLE_CONNECTION_TIMEOUT)
        .build()?;
    Ok(client)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Increments the counter when dropped, so that a user that panics counts as finished.
struct CountOnDrop<'a>(&'a watch::Sender<usize>);

impl Drop for CountOnDrop<'_> {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count += 1);
    }
}

/// Runs the first transaction of each user: logs in as the next student, at the user's own log-in time.
async fn log_in(user: &mut GooseUser, dispatcher: Arc<Dispatcher>) -> TransactionResult {
    let _counted = CountOnDrop(&dispatcher.logged_in);
    user.client = dispatcher.http.clone();
    let index = dispatcher.next_user.fetch_add(1, Ordering::Relaxed);
    let mut session = Session {
        student: index as i64 % dispatcher.students + 1,
        token: Err(Failure { why: "the run was stopped".into(), limit: None }),
        recorder: dispatcher.recorder(),
        delays: UserDelays::default(),
    };
    let due = dispatcher.started + LOG_IN_INTERVAL * index as u32;
    if dispatcher.wait(due).await {
        let request = Request::log_in(session.student);
        let timing = send::Timing {
            due,
            epoch: dispatcher.started,
            warm_up: true,
            delay: Delay { cause: DelayCause::Generator, blocked: Duration::ZERO },
        };
        let (replied, _) = send::send(user, &dispatcher, &session, request, timing).await?;
        session.token = replied.map(|facts| facts.token.unwrap_or_default().into());
        if let Ok(token) = &session.token {
            lock(&dispatcher.tokens).insert(session.student, Arc::clone(token));
        }
    }
    dispatcher.progress.logged_in.fetch_add(1, Ordering::Relaxed);
    user.set_session_data(session);
    Ok(())
}

/// Runs the repeated transaction of each user: the next planned journey of its kind, or a pause if there is none.
async fn next_journey(
    user: &mut GooseUser,
    dispatcher: Arc<Dispatcher>,
    journey: Journey,
) -> TransactionResult {
    let session = user.get_session_data::<Session>().cloned();
    let planned = match (dispatcher.zero().await, session) {
        (Some(zero), Some(session)) => dispatcher.next(journey).map(|planned| (zero, session, planned)),
        _ => None,
    };
    let Some((zero, session, planned)) = planned else {
        tokio::time::sleep(IDLE_PAUSE).await;
        return Ok(());
    };
    let _counted = CountOnDrop(&dispatcher.completed);
    journey::run(user, &dispatcher, &session, zero, planned).await
}
