//! Runs the whole system on this machine: one process for each role, and a private PostgreSQL.
//!
//! No process outlives its [`Stack`]: [`Stack::stop`] ends the processes in order; dropping the value (after an error, a
//! panic or a second Ctrl-C) kills them; if this process is killed, each child stops because its stdin closes.

mod addresses;
mod data_set;
pub(crate) mod keeper;
mod ports;
pub(crate) mod postgres;
mod process;
mod role_process;
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
use process::ChildProcess;
use role_process::{RoleProcess, SharedSettings};
use secret::random;

/// Maximum time until all processes are ready, sufficient for a cold and busy machine.
const START_TIMEOUT: Duration = Duration::from_secs(60);
/// Maximum time for a role to finish its requests when it stops.
const STOP_TIMEOUT: Duration = Duration::from_secs(10);
/// Number of log lines that an error quotes.
const QUOTED_LOG_LINES: usize = 20;

/// An error that prevented the start of a stack or ended it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error(
        "cannot listen on port {port} ({owner}): {source} (choose other ports with --port-base N or --free-ports)"
    )]
    Port { port: u16, owner: &'static str, source: std::io::Error },
    #[error("no sixteen consecutive free ports between 10000 and 32000")]
    NoFreePorts,
    #[error(
        "found no PostgreSQL server (programs initdb and postgres) {}: install one \
         (Debian, Ubuntu: apt-get install postgresql; Fedora: dnf install postgresql-server; macOS: brew install postgresql@17) \
         or set DATABASE_URL to a running server",
        searched.as_ref().map_or("on PATH or in the usual folders".into(), |folder| format!("in {}", folder.display()))
    )]
    NoPostgres { searched: Option<PathBuf> },
    #[error("{name} ended ({status}); its last log lines:\n{log}")]
    Ended { name: &'static str, status: ExitStatus, log: String },
    #[error("{name} is not ready after {} s; its last log lines:\n{log}", START_TIMEOUT.as_secs())]
    NotReady { name: &'static str, log: String },
    #[error("{failed}")]
    Io { failed: &'static str, source: std::io::Error },
    #[error("cannot connect to the database")]
    Database(#[from] sqlx::Error),
    #[error("cannot write the data set to the database")]
    Seed(#[from] system::app::Error),
}

impl Error {
    /// Returns whether the arguments or the configuration of the machine caused the error.
    pub(crate) fn is_usage(&self) -> bool {
        match self {
            Self::Port { .. } | Self::NoFreePorts | Self::NoPostgres { .. } => true,
            // The role's own exit status.
            Self::Ended { status, .. } => status.code() == Some(2),
            _ => false,
        }
    }
}

/// Settings of a stack.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    pub(crate) ports: PortChoice,
    /// URL of a running database; `None` starts a private one.
    pub(crate) database_url: Option<String>,
    /// Folder of PostgreSQL's programs; `None` searches for them.
    pub(crate) postgres_bin: Option<PathBuf>,
    /// Secret that signs the tokens; `None` uses a random one.
    pub(crate) jwt_secret: Option<String>,
    /// Worker threads of each role instead of the number that the stack chooses.
    pub(crate) worker_threads: Option<String>,
    /// OTLP endpoint for the spans; `None` uses the stack's own collector.
    pub(crate) export_to: Option<String>,
    /// Size of the data set.
    pub(crate) data: DataSet,
}

/// Choice of the ports.
#[derive(Clone, Copy, Debug)]
pub(crate) enum PortChoice {
    /// Default ports of the roles.
    Default,
    /// Twelve consecutive ports.
    Base(u16),
    /// Free ports.
    Free,
}

/// A running system.
#[derive(Debug)]
pub(crate) struct Stack {
    processes: Vec<ChildProcess>,
    ports: Ports,
    database_url: String,
    folder: TempDir,
    _block: Block,
}

impl Stack {
    /// Starts all processes. Returns when they are ready and the data set is in the database.
    pub(crate) async fn start(options: &Options) -> Result<Self, Error> {
        let block = Block::reserve()?;
        let ports = match options.ports {
            PortChoice::Default => Ports::default_ports(),
            PortChoice::Base(base) => Ports::from_base(base),
            PortChoice::Free => block.ports(),
        };
        ports.check()?;
        let folder = tempfile::Builder::new()
            .prefix("workbench-")
            .tempdir()
            .map_err(io("cannot create a temporary folder"))?;
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

    /// Starts the roles that need a database as soon as it accepts connections, all others immediately.
    async fn start_all(&mut self, options: &Options, cluster: Option<&Cluster>) -> Result<(), Error> {
        let executable = std::env::current_exe().map_err(io("cannot find this executable"))?;
        let name = if cluster.is_some() { "database" } else { "keeper" };
        self.spawn(
            name,
            role_process::KEEPER_STOP_ORDER,
            keeper::command(&executable, self.folder.path(), cluster),
        )?;

        let random_secret = random(48);
        let jwt_secret = options.jwt_secret.as_deref().unwrap_or(&random_secret);
        let own_collector = role_process::loopback(self.ports.otlp_grpc);
        let export_to = options.export_to.as_deref().unwrap_or(&own_collector);
        let roles = role_process::all(
            &self.ports,
            &SharedSettings {
                database_url: &self.database_url,
                jwt_secret,
                export_to,
                worker_threads: options.worker_threads.as_deref(),
            },
        );
        let (waiting, free): (Vec<&RoleProcess>, Vec<&RoleProcess>) =
            roles.iter().partition(|role| role.needs_database);
        for role in free {
            self.spawn(role.name, role.stop_order, role.command(&executable))?;
        }
        self.or_ended(database_ready(self.database_url.clone())).await?;
        for role in waiting {
            self.spawn(role.name, role.stop_order, role.command(&executable))?;
        }
        let url = self.database_url.clone();
        let seeded = async { Ok(seed(&url, options.data).await?) };
        let ready = ready(roles.iter().map(|role| (role.name, role.port)).collect());
        let ((), late) = self.or_ended(async { tokio::try_join!(seeded, ready) }).await?;
        match self.processes.iter().find(|process| late.contains(&process.name)) {
            Some(process) => {
                Err(Error::NotReady { name: process.name, log: process.last_lines(QUOTED_LOG_LINES) })
            }
            None => Ok(()),
        }
    }

    fn spawn(&mut self, name: &'static str, stop_order: u8, command: Command) -> Result<(), Error> {
        let process = ChildProcess::start(name, stop_order, self.folder.path(), command)
            .map_err(io("cannot start a process"))?;
        self.processes.push(process);
        Ok(())
    }

    /// Waits for `work`. Fails if a process of the stack ends first.
    async fn or_ended<T>(&mut self, work: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
        tokio::select! {
            done = work => done,
            ended = self.ended() => Err(ended),
        }
    }

    /// Waits until a process of the stack ends by itself and returns the error.
    pub(crate) async fn ended(&mut self) -> Error {
        let mut children = match signal(SignalKind::child()) {
            Ok(children) => children,
            Err(source) => return Error::Io { failed: "cannot watch the processes", source },
        };
        loop {
            // The database comes first: if it ends, roles may end because of it.
            for process in &mut self.processes {
                if let Some(status) = process.ended() {
                    return Error::Ended {
                        name: process.name,
                        status,
                        log: process.last_lines(QUOTED_LOG_LINES),
                    };
                }
            }
            children.recv().await;
        }
    }

    /// Returns the addresses of the stack.
    pub(crate) fn addresses(&self) -> Addresses {
        Addresses::new(&self.ports, &self.database_url, self.folder.path(), &self.processes)
    }

    /// Stops the processes in order, each after it has finished its requests, and removes the folder.
    pub(crate) async fn stop(mut self) -> Result<(), Error> {
        for stop_order in 0..=role_process::KEEPER_STOP_ORDER {
            let deadline = Instant::now()
                + if stop_order == role_process::KEEPER_STOP_ORDER {
                    keeper::STOP_TIMEOUT
                } else {
                    STOP_TIMEOUT
                };
            let (now, later) = self.processes.drain(..).partition(|process| process.stop_order == stop_order);
            self.processes = later;
            let mut stopping: Vec<ChildProcess> = now;
            stopping.iter().for_each(ChildProcess::terminate);
            for process in &mut stopping {
                process.wait(deadline).await.map_err(io("cannot stop a process"))?;
            }
        }
        Ok(())
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        let (mut keeper, mut roles): (Vec<_>, Vec<_>) = self
            .processes
            .drain(..)
            .partition(|process| process.stop_order == role_process::KEEPER_STOP_ORDER);
        roles.iter_mut().for_each(ChildProcess::kill);
        keeper.iter_mut().for_each(|keeper| keeper.release(keeper::STOP_TIMEOUT));
        // If the keeper was killed, its server still runs.
        postgres::kill_left_over(self.folder.path());
    }
}

/// Waits until the database accepts connections.
async fn database_ready(url: String) -> Result<(), Error> {
    let start = Instant::now();
    let options: PgConnectOptions = url.parse()?;
    loop {
        match options.connect().await {
            Ok(connection) => return Ok(connection.close().await?),
            Err(error) if !is_starting(&error) || start.elapsed() > START_TIMEOUT => return Err(error.into()),
            Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    }
}

/// Returns whether the server does not listen yet, or reports that it is starting.
fn is_starting(error: &sqlx::Error) -> bool {
    let cannot_connect_now =
        error.as_database_error().is_some_and(|error| error.code().as_deref() == Some("57P03"));
    cannot_connect_now || matches!(error, sqlx::Error::Io(_))
}

/// Waits until all roles are ready. Returns the names of those that are not ready after [`START_TIMEOUT`].
async fn ready(mut roles: Vec<(&'static str, u16)>) -> Result<Vec<&'static str>, Error> {
    let client = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(2)).build();
    let client = client.map_err(|error| io("cannot create an HTTP client")(std::io::Error::other(error)))?;
    let deadline = Instant::now() + START_TIMEOUT;
    loop {
        let mut waiting = Vec::new();
        for (name, port) in roles {
            let reply = client.get(format!("{}/health/ready", role_process::loopback(port))).send().await;
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

fn io(failed: &'static str) -> impl FnOnce(std::io::Error) -> Error {
    move |source| Error::Io { failed, source }
}
