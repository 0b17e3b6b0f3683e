//! The errors that prevent the start of a stack or end it.

use std::path::PathBuf;
use std::process::ExitStatus;

use system::role::Role;

use super::START_TIMEOUT;
use crate::terminal;

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
    #[error(
        "{count} {role} processes need a storage that they share ({why}): \
         set {variable}={scheme}HOST:PORT (--{role}-backend), or use --scale {role}=1"
    )]
    NoSharedStorage {
        role: Role,
        count: usize,
        variable: &'static str,
        scheme: &'static str,
        why: &'static str,
    },
    #[error("{name} ended ({status}); its last log lines:\n{log}")]
    Ended { name: String, status: ExitStatus, log: String },
    #[error("{name} is not ready after {} s; its last log lines:\n{log}", START_TIMEOUT.as_secs())]
    NotReady { name: String, log: String },
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
            Self::NoSharedStorage { .. } => true,
            Self::Folder { .. } | Self::PrivateFolder { .. } | Self::Database { .. } => true,
            // The role's own exit status.
            Self::Ended { status, .. } => status.code() == Some(2),
            _ => false,
        }
    }
}

/// Returns a function that says what `failed` because of an error of the operating system.
pub(super) fn io(failed: &'static str) -> impl FnOnce(std::io::Error) -> Error {
    move |source| Error::Io { failed, source }
}
