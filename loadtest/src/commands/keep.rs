//! `workbench keep`: a hidden command, the process that owns a stack's folder and its database.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use crate::stack::keeper;
use crate::stack::postgres::{Binaries, Cluster};

/// The arguments of `workbench keep`.
#[derive(Debug, Args)]
pub(crate) struct Keep {
    /// Folder that is removed at the end
    pub(crate) folder: PathBuf,
    /// Port of a PostgreSQL server to run
    #[arg(long, requires = "password")]
    port: Option<u16>,
    #[arg(long)]
    postgres_bin: Option<PathBuf>,
    #[arg(long, env = keeper::PASSWORD, hide_env_values = true)]
    password: Option<String>,
}

impl Keep {
    /// Returns the server to run, if any.
    pub(crate) fn cluster(&self) -> Option<Cluster> {
        Some(Cluster {
            binaries: self.postgres_bin.clone().map_or(Binaries::OnPath, Binaries::In),
            folder: self.folder.clone(),
            port: self.port?,
            password: self.password.clone()?,
        })
    }
}

/// Runs until SIGTERM or the end of stdin.
pub(crate) async fn keep(arguments: &Keep) -> anyhow::Result<ExitCode> {
    keeper::keep(&arguments.folder, arguments.cluster().as_ref()).await
}
