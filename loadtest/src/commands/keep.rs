//! `workbench keep`: a hidden command, the process that owns a stack's folder and its database.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Args;
use telemetry::{LOG_FILE_MAX_BYTES, LogFile};

use crate::stack::keeper;
use crate::stack::postgres::{Binaries, Cluster, MAX_CONNECTIONS, PASSWORD};

/// The arguments of `workbench keep`.
#[derive(Debug, Args)]
pub(crate) struct Keep {
    /// Folder that is removed at the end
    pub(crate) folder: PathBuf,
    /// Port of a PostgreSQL server to run
    #[arg(long, requires = "password")]
    port: Option<u16>,
    #[arg(long, default_value_t = MAX_CONNECTIONS)]
    max_connections: u32,
    #[arg(long)]
    postgres_bin: Option<PathBuf>,
    #[arg(long, env = PASSWORD, hide_env_values = true)]
    password: Option<String>,
    #[arg(long, env = "LOG_FILE")]
    log_file: Option<PathBuf>,
    #[arg(long, env = "LOG_FILE_MAX_BYTES", default_value_t = LOG_FILE_MAX_BYTES)]
    log_file_max_bytes: u64,
}

impl Keep {
    /// Returns the server to run, if any.
    pub(crate) fn cluster(&self) -> Option<Cluster> {
        Some(Cluster {
            binaries: self.postgres_bin.clone().map_or(Binaries::OnPath, Binaries::In),
            folder: self.folder.clone(),
            port: self.port?,
            password: self.password.clone()?,
            max_connections: self.max_connections,
        })
    }
}

/// Runs until SIGTERM or the end of stdin.
pub(crate) async fn keep(arguments: &Keep) -> anyhow::Result<ExitCode> {
    let log = arguments.log_file.as_deref();
    let log = log.map(|path| LogFile::open(path, arguments.log_file_max_bytes)).transpose();
    let log = log.context("cannot write the log of the database")?;
    keeper::keep(&arguments.folder, arguments.cluster().as_ref(), log).await
}
