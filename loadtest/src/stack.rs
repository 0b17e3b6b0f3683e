//! Runs the whole system on this machine: one process for each role, and a private PostgreSQL.
//!
//! No process outlives its [`Stack`]: [`Stack::stop`] ends the processes in order; dropping the value (after an error, a
//! panic or a second Ctrl-C) kills them; if this process is killed, each child stops because its stdin closes.

mod addresses;
mod data_set;
mod database;
mod database_url;
mod folder;
pub(crate) mod keeper;
mod ports;
pub(crate) mod postgres;
mod process;
mod role_process;
pub(crate) mod secret;

use std::path::PathBuf;
use std::process::ExitStatus;
use std::time::Duration;

use system::database::ClientVariables;
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

use crate::{http_client, terminal};

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
        "cannot listen on 127.0.0.1:{port} ({owner}): {} (choose other ports with --port-base N, or --free-ports of `up`)",
        terminal::os_reason(error)
    )]
    Port { port: u16, owner: &'static str, error: std::io::Error },
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
    #[error("cannot create a folder in {} (set another with TMPDIR)", folder.display())]
    Folder { folder: PathBuf, source: std::io::Error },
    #[error(
        "the user {user}, which runs PostgreSQL for root, cannot enter {} (set TMPDIR to a folder that all users can enter)",
        folder.display()
    )]
    PrivateFolder { folder: PathBuf, user: &'static str },
    #[error("cannot use the database {url} (--database-url or DATABASE_URL)")]
    Database { url: String, source: Box<system::app::Error> },
    #[error("cannot write the data set to the database; the last lines of `workbench seed`:\n{log}")]
    Seed { log: String },
}

impl Error {
    /// Returns whether the arguments or the configuration of the machine caused the error.
    pub(crate) fn is_usage(&self) -> bool {
        match self {
            Self::Port { .. } | Self::NoFreePorts | Self::NoPostgres { .. } => true,
            Self::Folder { .. } | Self::PrivateFolder { .. } | Self::Database { .. } => true,
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
    /// Variables that apply to connections to a running database.
    pub(crate) client_variables: ClientVariables,
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
    /// Maximum size of the log of each process, in bytes.
    pub(crate) log_max_bytes: u64,
}

/// Choice of the ports.
#[derive(Clone, Copy, Debug)]
pub(crate) enum PortChoice {
    /// Default ports of the roles.
    Default,
    /// Thirteen consecutive ports.
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
    log_max_bytes: u64,
    /// OTLP endpoint of the spans.
    export_to: String,
    data: DataSet,
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
        let binaries = match &options.database_url {
            Some(url) => {
                database::check(url, &options.client_variables).await?;
                None
            }
            None => Some(Binaries::find(options.postgres_bin.as_deref()).await?),
        };
        let folder = folder::create(binaries.as_ref()).await?;
        let (path, port) = (folder.path().to_owned(), block.database());
        let cluster = binaries.map(|binaries| Cluster { binaries, folder: path, port, password: random(32) });
        let given = options.database_url.clone();
        let database_url = given.or_else(|| cluster.as_ref().map(Cluster::url)).unwrap_or_default();
        let own_collector = || role_process::loopback(ports.otlp_grpc);
        let mut stack = Self {
            processes: Vec::new(),
            export_to: options.export_to.clone().unwrap_or_else(own_collector),
            ports,
            database_url,
            folder,
            log_max_bytes: options.log_max_bytes,
            data: options.data,
            _block: block,
        };
        stack.start_all(options, cluster.as_ref()).await?;
        stack.addresses().write().map_err(io("cannot write the addresses"))?;
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
        let roles = role_process::all(
            &self.ports,
            &SharedSettings {
                private_database: cluster.is_some(),
                database_url: &self.database_url,
                jwt_secret,
                export_to: &self.export_to,
                worker_threads: options.worker_threads.as_deref(),
            },
        );
        let (waiting, free): (Vec<&RoleProcess>, Vec<&RoleProcess>) =
            roles.iter().partition(|role| role.needs_database);
        for role in free {
            self.spawn(role.name, role.stop_order, role.command(&executable))?;
        }
        if let Some(cluster) = cluster {
            self.or_ended(database::ready(cluster)).await?;
        }
        for role in waiting {
            self.spawn(role.name, role.stop_order, role.command(&executable))?;
        }
        let url = self.database_url.clone();
        let seeded = async {
            match cluster {
                Some(cluster) => database::seed_private(&executable, cluster, options.data).await,
                None => database::seed_given(&url, &options.client_variables, options.data).await,
            }
        };
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
        let process = ChildProcess::start(name, stop_order, self.folder.path(), self.log_max_bytes, command)
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
        let load = (self.export_to.clone(), self.data);
        Addresses::new(&self.ports, &self.database_url, self.folder.path(), &self.processes, load)
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

/// Waits until all roles are ready. Returns the names of those that are not ready after [`START_TIMEOUT`].
async fn ready(mut roles: Vec<(&'static str, u16)>) -> Result<Vec<&'static str>, Error> {
    let client = http_client::builder().timeout(Duration::from_secs(2)).build();
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
