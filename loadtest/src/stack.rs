//! The whole system on this machine: every role a process of its own, over a PostgreSQL of its own.
//!
//! Nothing of a stack outlives its [`Stack`]: [`Stack::stop`] ends the processes in order, dropping the value (an
//! error, a panic, a second Ctrl-C) kills them, and if this process itself is killed, each child sees its stdin end.

mod addresses;
mod data_set;
pub(crate) mod keeper;
mod ports;
pub(crate) mod postgres;
mod process;
mod roles;
pub(crate) mod secret;

use std::path::PathBuf;
use std::process::ExitStatus;
use std::time::Duration;

use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions as _, Connection as _};
use tempfile::TempDir;
use tokio::process::Command;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::Instant;

pub(crate) use addresses::Addresses;
pub(crate) use data_set::{DataSet, seed};
use ports::{Block, Ports};
use postgres::{Binaries, Cluster};
use process::Process;
use roles::{Role, SharedSettings};
use secret::random;

/// How long everything together may take until it is ready; a cold, busy machine needs a part of it.
const READY_WITHIN: Duration = Duration::from_secs(60);
/// How long one role may take to finish what it has in hand.
const STOP_WITHIN: Duration = Duration::from_secs(10);
const LAST_LINES: usize = 20;

/// Why there is no stack (any more).
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error(
        "cannot listen on port {port} ({owner}): {source}; --port-base N or --free-ports choose other ports"
    )]
    Port { port: u16, owner: &'static str, source: std::io::Error },
    #[error("no sixteen free ports in a row between 10000 and 32000")]
    NoFreePorts,
    #[error(
        "no PostgreSQL server (the programs initdb and postgres) {}; install one \
         (Debian, Ubuntu: apt-get install postgresql; Fedora: dnf install postgresql-server; macOS: brew install postgresql@17) \
         or point DATABASE_URL at one that runs",
        searched.as_ref().map_or("on PATH or where packages put it".into(), |folder| format!("in {}", folder.display()))
    )]
    NoPostgres { searched: Option<PathBuf> },
    #[error("{name} ended ({status}); its last log lines:\n{log}")]
    Ended { name: &'static str, status: ExitStatus, log: String },
    #[error("{name} is not ready after {} s; its last log lines:\n{log}", READY_WITHIN.as_secs())]
    NotReady { name: &'static str, log: String },
    #[error("{doing}")]
    Io { doing: &'static str, source: std::io::Error },
    #[error("the database does not let us in")]
    Database(#[from] sqlx::Error),
    #[error("filling the database")]
    Seed(#[from] system::app::Error),
}

impl Error {
    /// Whether other arguments or another machine's set-up would help, as against something that broke.
    pub(crate) fn is_usage(&self) -> bool {
        match self {
            Self::Port { .. } | Self::NoFreePorts | Self::NoPostgres { .. } => true,
            // A role says so itself.
            Self::Ended { status, .. } => status.code() == Some(2),
            _ => false,
        }
    }
}

/// What a stack is made from.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    pub(crate) ports: PortChoice,
    /// A database that runs already, instead of a private one.
    pub(crate) database_url: Option<String>,
    /// Where to look for PostgreSQL's programs, and nowhere else.
    pub(crate) postgres_bin: Option<PathBuf>,
    /// Signs the tokens; a random one if absent.
    pub(crate) jwt_secret: Option<String>,
    /// Worker threads of each role instead of the number that the stack chooses.
    pub(crate) worker_threads: Option<String>,
    /// Where the roles send their spans, if not to the stack's own collector.
    pub(crate) export_to: Option<String>,
    /// What the database is filled with.
    pub(crate) data: DataSet,
}

/// How the roles get their ports.
#[derive(Clone, Copy, Debug)]
pub(crate) enum PortChoice {
    /// The ports of the README's table.
    Table,
    /// A row of twelve.
    Base(u16),
    /// Whatever is free.
    Free,
}

/// A running system.
#[derive(Debug)]
pub(crate) struct Stack {
    processes: Vec<Process>,
    ports: Ports,
    database_url: String,
    folder: TempDir,
    _block: Block,
}

impl Stack {
    /// Starts everything and returns when all of it is ready and the tutors and students are in the database.
    pub(crate) async fn start(options: &Options) -> Result<Self, Error> {
        let block = Block::reserve()?;
        let ports = match options.ports {
            PortChoice::Table => Ports::table(),
            PortChoice::Base(base) => Ports::from_base(base),
            PortChoice::Free => block.ports(),
        };
        ports.check()?;
        let folder =
            tempfile::Builder::new().prefix("workbench-").tempdir().map_err(io("making a folder"))?;
        let cluster = match options.database_url {
            Some(_) => None,
            None => Some(Cluster {
                binaries: Binaries::find(options.postgres_bin.as_deref()).await?,
                folder: folder.path().to_owned(),
                port: block.database(),
                password: random(32),
            }),
        };
        let given = options.database_url.clone();
        let database_url = given.or_else(|| cluster.as_ref().map(Cluster::url)).unwrap_or_default();
        let mut stack = Self { processes: Vec::new(), ports, database_url, folder, _block: block };
        stack.start_all(options, cluster.as_ref()).await?;
        Ok(stack)
    }

    /// Everything that can starts at once; the roles with a database as soon as it answers.
    async fn start_all(&mut self, options: &Options, cluster: Option<&Cluster>) -> Result<(), Error> {
        let executable = std::env::current_exe().map_err(io("finding this executable"))?;
        let name = if cluster.is_some() { "database" } else { "keeper" };
        self.spawn(name, roles::KEEPER_DEPTH, keeper::command(&executable, self.folder.path(), cluster))?;

        let random_secret = random(48);
        let jwt_secret = options.jwt_secret.as_deref().unwrap_or(&random_secret);
        let own_collector = roles::loopback(self.ports.otlp_grpc);
        let export_to = options.export_to.as_deref().unwrap_or(&own_collector);
        let roles = roles::all(
            &self.ports,
            &SharedSettings {
                database_url: &self.database_url,
                jwt_secret,
                export_to,
                worker_threads: options.worker_threads.as_deref(),
            },
        );
        let (waiting, free): (Vec<&Role>, Vec<&Role>) = roles.iter().partition(|role| role.needs_database);
        for role in free {
            self.spawn(role.name, role.depth, role.command(&executable))?;
        }
        self.or_ended(answering(self.database_url.clone())).await?;
        for role in waiting {
            self.spawn(role.name, role.depth, role.command(&executable))?;
        }
        let url = self.database_url.clone();
        let seeded = async { Ok(seed(&url, options.data).await?) };
        let ready = ready(roles.iter().map(|role| (role.name, role.port)).collect());
        let ((), late) = self.or_ended(async { tokio::try_join!(seeded, ready) }).await?;
        match self.processes.iter().find(|process| late.contains(&process.name)) {
            Some(process) => Err(Error::NotReady { name: process.name, log: process.last_lines(LAST_LINES) }),
            None => Ok(()),
        }
    }

    fn spawn(&mut self, name: &'static str, depth: u8, command: Command) -> Result<(), Error> {
        let process =
            Process::start(name, depth, self.folder.path(), command).map_err(io("starting a process"))?;
        self.processes.push(process);
        Ok(())
    }

    /// Waits for `work`, unless a process of the stack ends first.
    async fn or_ended<T>(&mut self, work: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
        tokio::select! {
            done = work => done,
            ended = self.ended() => Err(ended),
        }
    }

    /// Returns when a process of the stack has ended by itself: which, how, and what it said last.
    pub(crate) async fn ended(&mut self) -> Error {
        let mut children = match signal(SignalKind::child()) {
            Ok(children) => children,
            Err(source) => return Error::Io { doing: "watching the processes", source },
        };
        loop {
            // The first in line is the database: what it takes with it comes after it.
            for process in &mut self.processes {
                if let Some(status) = process.ended() {
                    return Error::Ended { name: process.name, status, log: process.last_lines(LAST_LINES) };
                }
            }
            children.recv().await;
        }
    }

    /// Where everything is.
    pub(crate) fn addresses(&self) -> Addresses {
        Addresses::new(&self.ports, &self.database_url, self.folder.path(), &self.processes)
    }

    /// Ends every process, those first that others do not call, and removes the folder. Each may finish what it has in hand.
    pub(crate) async fn stop(mut self) -> Result<(), Error> {
        for depth in 0..=roles::KEEPER_DEPTH {
            let deadline = Instant::now()
                + if depth == roles::KEEPER_DEPTH { keeper::STOP_TIMEOUT } else { STOP_WITHIN };
            let (now, later) = self.processes.drain(..).partition(|process| process.depth == depth);
            self.processes = later;
            let mut stopping: Vec<Process> = now;
            stopping.iter().for_each(Process::terminate);
            for process in &mut stopping {
                process.wait(deadline).await.map_err(io("stopping a process"))?;
            }
        }
        Ok(())
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        let (mut keeper, mut roles): (Vec<_>, Vec<_>) =
            self.processes.drain(..).partition(|process| process.depth == roles::KEEPER_DEPTH);
        roles.iter_mut().for_each(Process::kill);
        keeper.iter_mut().for_each(|keeper| keeper.release(keeper::STOP_TIMEOUT));
        // Only when the keeper was killed is there still a server, and nobody else to end it.
        postgres::kill_left_over(self.folder.path());
    }
}

/// Returns when the database takes connections.
async fn answering(url: String) -> Result<(), Error> {
    let start = Instant::now();
    let options: PgConnectOptions = url.parse()?;
    loop {
        match options.connect().await {
            Ok(connection) => return Ok(connection.close().await?),
            Err(error) if !is_starting(&error) || start.elapsed() > READY_WITHIN => return Err(error.into()),
            Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    }
}

/// Nobody listens yet, or PostgreSQL says itself that it is starting.
fn is_starting(error: &sqlx::Error) -> bool {
    let cannot_connect_now =
        error.as_database_error().is_some_and(|error| error.code().as_deref() == Some("57P03"));
    cannot_connect_now || matches!(error, sqlx::Error::Io(_))
}

/// Returns when all of them say that they are ready, or those that still do not after a minute.
async fn ready(mut roles: Vec<(&'static str, u16)>) -> Result<Vec<&'static str>, Error> {
    let client = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(2)).build();
    let client = client.map_err(|error| io("making an HTTP client")(std::io::Error::other(error)))?;
    let deadline = Instant::now() + READY_WITHIN;
    loop {
        let mut waiting = Vec::new();
        for (name, port) in roles {
            let reply = client.get(format!("{}/health/ready", roles::loopback(port))).send().await;
            if !reply.is_ok_and(|reply| reply.status().is_success()) {
                waiting.push((name, port));
            }
        }
        if waiting.is_empty() || Instant::now() > deadline {
            return Ok(waiting.into_iter().map(|(name, _)| name).collect());
        }
        roles = waiting;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn io(doing: &'static str) -> impl FnOnce(std::io::Error) -> Error {
    move |source| Error::Io { doing, source }
}
