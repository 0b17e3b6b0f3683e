//! One process of a stack over time: started, ended, started again.

use std::io;
use std::path::Path;
use std::process::ExitStatus;
use std::time::Duration;

use tokio::process::Command;
use tokio::time::Instant;

use super::backoff::Backoff;
use super::keeper::Keeper;
use super::process::{ChildProcess, Log};
use super::role_process::{KEEPER_STOP_ORDER, RoleProcess};

/// Name of the keeper's process.
pub(crate) const KEEPER: &str = "keeper";

/// Time after which a process that was killed and has not ended is killed again.
const KILL_INTERVAL: Duration = Duration::from_secs(1);

/// How a process is started.
#[derive(Clone, Debug)]
pub(crate) enum Launch {
    Role(Box<RoleProcess>),
    Keeper(Keeper),
}

impl Launch {
    /// Returns the name of the instance.
    pub(crate) fn name(&self) -> &str {
        match self {
            Self::Role(role) => &role.name,
            Self::Keeper(_) => KEEPER,
        }
    }

    /// Returns the name of the log file. The keeper's lines are in the log of its database.
    fn log(&self) -> &str {
        match self {
            Self::Keeper(Keeper { cluster: Some(_), .. }) => "database",
            _ => self.name(),
        }
    }

    fn command(&self, executable: &Path) -> Command {
        match self {
            Self::Role(role) => role.command(executable),
            Self::Keeper(keeper) => keeper.command(executable),
        }
    }

    /// Starts the process; its log is in `folder`.
    fn start(&self, executable: &Path, folder: &Path, log_max_bytes: u64) -> io::Result<ChildProcess> {
        let log = Log { path: folder.join(self.log()).with_extension("log"), max_bytes: log_max_bytes };
        ChildProcess::start(&log, self.command(executable), matches!(self, Self::Keeper(_)))
    }
}

/// What a process is doing.
#[derive(Debug)]
enum State {
    Running,
    /// It was requested to stop and is killed at `kill_at`.
    Stopping {
        kill_at: Instant,
    },
    /// It has ended and is started at `at`.
    Waiting {
        at: Instant,
    },
}

/// The end of a process.
#[derive(Debug)]
pub(crate) struct End {
    pub(crate) status: ExitStatus,
    /// Whether a restart was requested.
    pub(crate) requested: bool,
    /// Ends in a row, each soon after a start.
    pub(crate) failures: u32,
    /// Time until the next start.
    pub(crate) delay: Duration,
}

/// One process of the stack.
#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) launch: Launch,
    /// The process that was started last.
    pub(crate) process: ChildProcess,
    /// Number of starts after the first one.
    pub(crate) restarts: u32,
    /// The instant at which the process before this one ended.
    pub(crate) ended_at: Option<Instant>,
    state: State,
    backoff: Backoff,
}

/// What every start of a process needs.
#[derive(Debug)]
pub(crate) struct Surroundings<'a> {
    pub(crate) executable: &'a Path,
    pub(crate) folder: &'a Path,
    pub(crate) log_max_bytes: u64,
}

impl Member {
    /// Starts the process for the first time.
    pub(crate) fn start(launch: Launch, around: &Surroundings<'_>) -> io::Result<Self> {
        let process = launch.start(around.executable, around.folder, around.log_max_bytes)?;
        let (state, backoff) = (State::Running, Backoff::default());
        Ok(Self { launch, process, restarts: 0, ended_at: None, state, backoff })
    }

    pub(crate) fn name(&self) -> &str {
        self.launch.name()
    }

    /// Processes with a lower number stop first.
    pub(crate) fn stop_order(&self) -> u8 {
        match &self.launch {
            Launch::Role(role) => role.stop_order,
            Launch::Keeper(_) => KEEPER_STOP_ORDER,
        }
    }

    /// Returns the process id, unless the process has ended.
    pub(crate) fn pid(&self) -> Option<u32> {
        (!matches!(self.state, State::Waiting { .. })).then_some(self.process.pid)
    }

    /// Returns the end of the process, once. It is then due to be started again.
    pub(crate) fn ended(&mut self) -> Option<End> {
        if matches!(self.state, State::Waiting { .. }) {
            return None;
        }
        let status = self.process.ended()?;
        let requested = matches!(self.state, State::Stopping { .. });
        let ran = self.process.started.elapsed();
        let delay = if requested { Duration::ZERO } else { self.backoff.next(ran) };
        let now = Instant::now();
        self.state = State::Waiting { at: now + delay };
        self.ended_at = Some(now);
        Some(End { status, requested, failures: self.backoff.failures(), delay })
    }

    /// Requests the process to stop, after which it is started again; kills it after `timeout`. If it waits to be started, it is
    /// due at once.
    pub(crate) fn request_restart(&mut self, timeout: Duration) {
        let now = Instant::now();
        match &mut self.state {
            State::Running => {
                self.process.terminate();
                self.state = State::Stopping { kill_at: now + timeout };
            }
            State::Stopping { .. } => {}
            State::Waiting { at } => *at = now,
        }
    }

    /// Returns when [`Member::act`] has something to do.
    pub(crate) fn due(&self) -> Option<Instant> {
        match self.state {
            State::Running => None,
            State::Stopping { kill_at: due } | State::Waiting { at: due } => Some(due),
        }
    }

    /// Starts the process if that is due, and returns true; kills it if it did not stop in time. After a failed start, the next
    /// one is due later.
    pub(crate) fn act(&mut self, around: &Surroundings<'_>) -> io::Result<bool> {
        let now = Instant::now();
        match &mut self.state {
            State::Stopping { kill_at } if *kill_at <= now => {
                self.process.start_kill();
                *kill_at = now + KILL_INTERVAL;
            }
            State::Waiting { at } if *at <= now => {
                let started = self.launch.start(around.executable, around.folder, around.log_max_bytes);
                self.state = match &started {
                    Ok(_) => State::Running,
                    Err(_) => State::Waiting { at: now + self.backoff.next(Duration::ZERO) },
                };
                self.process = started?;
                self.restarts += 1;
                return Ok(true);
            }
            _ => {}
        }
        Ok(false)
    }
}
