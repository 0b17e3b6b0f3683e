//! Runs the whole system on this machine: one process for each role, or several, and a private PostgreSQL.
//!
//! A process that ends by itself is started again, on its port, unless the stack should stop then ([`OnExit`]).
//!
//! No process outlives its [`Stack`]: [`Stack::stop`] ends the processes in order; dropping the value (after an error, a
//! panic or a second Ctrl-C) kills them; if this process is killed, each child stops because its stdin closes.

mod addresses;
mod backoff;
mod control;
mod data_set;
mod database;
mod database_url;
mod error;
mod folder;
pub(crate) mod keeper;
mod member;
mod ports;
pub(crate) mod postgres;
mod process;
mod processes;
pub(crate) mod readiness;
mod role_process;
pub(crate) mod running;
mod scale;
pub(crate) mod secret;
mod server_event;
mod supervise;

use std::path::PathBuf;
use std::time::Duration;

use clap::ValueEnum;
use system::database::ClientVariables;
use system::role::Role;
use tempfile::TempDir;

pub(crate) use addresses::Addresses;
use addresses::Particulars;
use control::Requests;
pub(crate) use data_set::{DataSet, MAX_ROWS, seed};
pub(crate) use error::Error;
use error::io;
use keeper::Keeper;
use member::Launch;
use ports::{FreePorts, Ports};
use postgres::{Binaries, Cluster};
use processes::Processes;
use role_process::{RoleProcess, SharedSettings};
pub(crate) use scale::{RoleCount, Scale, Storages};
use secret::random;

/// Maximum time until all processes are ready, sufficient for a cold and busy machine.
const START_TIMEOUT: Duration = Duration::from_secs(60);
/// Number of log lines that an error quotes.
const QUOTED_LOG_LINES: usize = 20;
/// Connections of one process with a database to the private PostgreSQL, those for other purposes than statements included.
const CONNECTIONS_PER_PROCESS: u32 = 12;

/// What happens when a process of the stack ends by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum OnExit {
    /// Start it again, sooner or later depending on how often it ended
    Restart,
    /// Stop the whole system, with exit status 1
    Stop,
}

/// Settings of a stack.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    pub(crate) ports: PortChoice,
    /// Number of processes of each role.
    pub(crate) scale: Scale,
    /// Storages of the queue and the cache.
    pub(crate) storages: Storages,
    pub(crate) on_exit: OnExit,
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

impl Options {
    /// Rejects settings that contradict each other.
    pub(crate) fn check(&self) -> Result<(), Error> {
        self.scale.check(&self.storages)
    }
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
    // Before the folder, so that they end before it is removed.
    processes: Processes,
    requests: Requests,
    on_exit: OnExit,
    ports: Ports,
    database_url: String,
    folder: TempDir,
    /// OTLP endpoint of the spans.
    export_to: String,
    data: DataSet,
    started_at_ms: i64,
    /// Client of the readiness checks.
    client: reqwest::Client,
    _reserved: FreePorts,
}

impl Stack {
    /// Starts all processes. Returns when they are ready and the data set is in the database.
    pub(crate) async fn start(options: &Options) -> Result<Self, Error> {
        options.check()?;
        let mut reserved = FreePorts::reserve()?;
        let ports = match options.ports {
            PortChoice::Default => Ports::default_ports(),
            PortChoice::Base(base) => Ports::from_base(base),
            PortChoice::Free => reserved.ports(),
        };
        let ports = ports.scaled(&options.scale, &mut reserved)?;
        ports.check()?;
        let binaries = match &options.database_url {
            Some(url) => {
                database::check(url, &options.client_variables).await?;
                None
            }
            None => Some(Binaries::find(options.postgres_bin.as_deref()).await?),
        };
        let folder = folder::create(binaries.as_ref()).await?;
        let cluster = binaries.map(|binaries| Cluster {
            binaries,
            folder: folder.path().to_owned(),
            port: reserved.database(),
            password: random(32),
            max_connections: max_connections(&options.scale),
        });
        let given = options.database_url.clone();
        let database_port = cluster.as_ref().map(|cluster| cluster.port);
        let own_collector = || role_process::loopback(ports.otlp_grpc);
        let mut stack = Self {
            processes: Processes::new(folder.path().to_owned(), options.log_max_bytes, database_port)?,
            requests: Requests::listen(folder.path()).map_err(io("cannot create a named pipe"))?,
            on_exit: options.on_exit,
            export_to: options.export_to.clone().unwrap_or_else(own_collector),
            ports,
            database_url: given.or_else(|| cluster.as_ref().map(Cluster::url)).unwrap_or_default(),
            folder,
            data: options.data,
            started_at_ms: chrono::Utc::now().timestamp_millis(),
            client: readiness::client()?,
            _reserved: reserved,
        };
        stack.start_all(options, cluster.as_ref()).await?;
        stack.addresses().write().map_err(io("cannot write the addresses"))?;
        Ok(stack)
    }

    /// Starts the roles that need a database as soon as it accepts connections, all others immediately.
    async fn start_all(&mut self, options: &Options, cluster: Option<&Cluster>) -> Result<(), Error> {
        let folder = self.folder.path().to_owned();
        self.processes.spawn(Launch::Keeper(Keeper { folder, cluster: cluster.cloned() }))?;

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
                storages: &options.storages,
            },
        );
        let addresses = roles.iter().map(|role| (role.name.clone(), role.port)).collect();
        let (waiting, free): (Vec<RoleProcess>, Vec<RoleProcess>) =
            roles.into_iter().partition(|role| role.needs_database);
        for role in free {
            self.processes.spawn(Launch::Role(Box::new(role)))?;
        }
        if let Some(cluster) = cluster {
            self.or_ended(database::ready(cluster)).await?;
        }
        for role in waiting {
            self.processes.spawn(Launch::Role(Box::new(role)))?;
        }
        let (url, executable) = (self.database_url.clone(), self.processes.executable.clone());
        let seeded = async {
            match cluster {
                Some(cluster) => database::seed_private(&executable, cluster, options.data).await,
                None => database::seed_given(&url, &options.client_variables, options.data).await,
            }
        };
        let client = self.client.clone();
        let ready = async { Ok(readiness::all_ready(&client, addresses).await) };
        let ((), late) = self.or_ended(async { tokio::try_join!(seeded, ready) }).await?;
        match self.processes.members.iter().find(|member| late.iter().any(|name| name == member.name())) {
            Some(member) => Err(Error::NotReady {
                name: member.name().to_owned(),
                log: member.process.last_lines(QUOTED_LOG_LINES),
            }),
            None => Ok(()),
        }
    }

    /// Waits for `work`. Fails if a process of the stack ends first.
    async fn or_ended<T>(&mut self, work: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
        tokio::select! {
            done = work => done,
            ended = self.processes.ended() => Err(ended),
        }
    }

    /// Returns the addresses of the stack.
    pub(crate) fn addresses(&self) -> Addresses {
        let own = Particulars {
            database_url: &self.database_url,
            folder: self.folder.path(),
            started_at_ms: self.started_at_ms,
            processes: self.processes.list(),
            load_otlp: &self.export_to,
            data: self.data,
        };
        Addresses::new(&self.ports, own)
    }

    /// Stops the processes in order, each after it has finished its requests, and removes the folder.
    pub(crate) async fn stop(mut self) -> Result<(), Error> {
        self.processes.stop().await
    }
}

/// Returns the number of connections that the private PostgreSQL accepts.
fn max_connections(scale: &Scale) -> u32 {
    let processes: usize =
        [Role::Search, Role::Booking, Role::Notification].into_iter().map(|role| scale.of(role)).sum();
    let needed = u32::try_from(processes).unwrap_or(u32::MAX).saturating_mul(CONNECTIONS_PER_PROCESS);
    needed.saturating_add(CONNECTIONS_PER_PROCESS).max(postgres::MAX_CONNECTIONS)
}
