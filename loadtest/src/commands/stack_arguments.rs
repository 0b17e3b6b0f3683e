//! Arguments that `up` and `demo` share.

use std::path::PathBuf;

use clap::Args;
use system::database::ClientVariables;
use telemetry::LOG_FILE_MAX_BYTES;
use telemetry::arguments::bytes;

use crate::stack::{DataSet, OnExit, Options, PortChoice, RoleCount, Scale, Storages};

/// Arguments that `up` and `demo` share.
#[derive(Debug, Args)]
pub(crate) struct StackArgs {
    /// First of the thirteen consecutive ports to listen on
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=65523))]
    port_base: Option<u16>,
    /// Number of processes of a role, from 1 to 16, such as gateway=4; may be repeated. Two gateways and one process of each
    /// other role by default; further processes listen on free ports. Balancer, frontend and collector run once; several
    /// queues need --queue-backend, several caches --cache-backend
    #[arg(long, value_name = "ROLE=N")]
    scale: Vec<RoleCount>,
    /// What happens when a process ends by itself
    #[arg(long, value_enum, value_name = "ACTION", default_value = "restart")]
    on_exit: OnExit,
    /// URL of the NATS server that stores the queue's tasks, nats://HOST:PORT, instead of the queue's memory
    #[arg(long, value_name = "URL", env = "QUEUE_BACKEND", hide_env_values = true)]
    queue_backend: Option<String>,
    /// URL of the Redis server that stores the cache's values, redis://HOST:PORT, instead of the cache's memory
    #[arg(long, value_name = "URL", env = "CACHE_BACKEND", hide_env_values = true)]
    cache_backend: Option<String>,
    /// URL of a running PostgreSQL to use instead of a private one; with a password, prefer the variable, because all users of the machine see arguments
    #[arg(long, value_name = "URL", env = "DATABASE_URL", hide_env_values = true)]
    database_url: Option<String>,
    /// Folder of initdb and postgres; searched for by default
    #[arg(long, value_name = "FOLDER")]
    postgres_bin: Option<PathBuf>,
    /// Secret of at least 32 bytes that signs the tokens, random by default; prefer the variable, because all users of the machine see arguments
    #[arg(long, value_name = "SECRET", env = "JWT_SECRET", hide_env_values = true)]
    jwt_secret: Option<String>,
    /// Number of worker threads of each role, which tokio reads from the environment itself
    #[arg(long, value_name = "N", env = "TOKIO_WORKER_THREADS", hide = true)]
    worker_threads: Option<String>,
    /// Maximum size of the log files of each process, in bytes (at least 65536); the oldest lines are removed
    #[arg(long, value_name = "BYTES", env = "LOG_FILE_MAX_BYTES", default_value_t = LOG_FILE_MAX_BYTES, value_parser = bytes::<u64>)]
    log_file_max_bytes: u64,
    #[command(flatten)]
    pub(crate) data: DataSet,
    #[command(flatten)]
    client_variables: ClientVariables,
}

impl StackArgs {
    /// Returns the stack's settings, with `ports` unless a port base was given.
    pub(crate) fn options(&self, ports: PortChoice) -> Options {
        Options {
            ports: self.port_base.map_or(ports, PortChoice::Base),
            scale: Scale::new(&self.scale),
            storages: Storages { queue: self.queue_backend.clone(), cache: self.cache_backend.clone() },
            on_exit: self.on_exit,
            database_url: self.database_url.clone(),
            postgres_bin: self.postgres_bin.clone(),
            jwt_secret: self.jwt_secret.clone(),
            worker_threads: self.worker_threads.clone(),
            export_to: None,
            data: self.data,
            client_variables: self.client_variables.clone(),
            log_max_bytes: self.log_file_max_bytes,
        }
    }
}
