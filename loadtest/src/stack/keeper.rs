//! The process that owns the stack's folder and, unless there is another database, the private PostgreSQL in it.
//!
//! It outlives whoever started it by just long enough to stop the server and remove the folder: when its stdin
//! ends (which the kernel sees to, even after kill -9 of the parent) or on SIGTERM. It ends with an error when the server
//! does, and then leaves the folder, with the reason in its logs, to the parent.

use std::io;
use std::path::Path;
use std::process::{ExitCode, ExitStatus};
use std::time::Duration;

use anyhow::{Context as _, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::process::{Child, Command};
use tokio_util::sync::CancellationToken;

use super::postgres::{Binaries, Cluster};
use crate::stop;

/// The variable that carries the password of the cluster to be made: arguments are for everyone to see.
pub(crate) const PASSWORD: &str = "POSTGRES_PASSWORD";
/// How long the server gets for a fast shutdown, then for an immediate one.
const FAST: Duration = Duration::from_secs(10);
const IMMEDIATE: Duration = Duration::from_secs(3);
/// What the parent has to wait for at most.
pub(crate) const STOP_TIMEOUT: Duration = Duration::from_secs(15);

/// The command that becomes the keeper.
pub(crate) fn command(executable: &Path, folder: &Path, cluster: Option<&Cluster>) -> Command {
    let mut command = Command::new(executable);
    command.arg("keep").arg(folder);
    if let Some(cluster) = cluster {
        command.arg("--port").arg(cluster.port.to_string()).env(PASSWORD, &cluster.password);
        if let Binaries::In(folder) = &cluster.binaries {
            command.arg("--postgres-bin").arg(folder);
        }
    }
    command
}

/// Keeps the folder, and the server if there is one, until told to stop.
pub(crate) async fn keep(folder: &Path, cluster: Option<&Cluster>) -> anyhow::Result<ExitCode> {
    let stop = stop::on_signal()?;
    stop::with_stdin(stop.clone())?;
    match cluster {
        Some(cluster) => serve(cluster, &stop).await?,
        None => stop.cancelled().await,
    }
    match std::fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("removing {}", folder.display()))
        }
        _ => Ok(ExitCode::SUCCESS),
    }
}

async fn serve(cluster: &Cluster, stop: &CancellationToken) -> anyhow::Result<()> {
    let mut initdb = start(cluster.initdb()?)?;
    tokio::select! {
        status = initdb.wait() => succeeded("initdb", status?)?,
        () = stop.cancelled() => return end(&mut initdb, Signal::SIGTERM).await,
    }
    let mut postgres = start(cluster.postgres()?)?;
    tokio::select! {
        status = postgres.wait() => bail!("postgres ended: {}", status?),
        () = stop.cancelled() => end(&mut postgres, Signal::SIGINT).await,
    }
}

fn start(mut command: Command) -> anyhow::Result<Child> {
    let program = command.as_std().get_program().to_owned();
    command.kill_on_drop(true).spawn().with_context(|| format!("starting {}", program.display()))
}

fn succeeded(program: &str, status: ExitStatus) -> anyhow::Result<()> {
    if !status.success() {
        bail!("{program} ended: {status}");
    }
    Ok(())
}

/// Asks with `signal`, then with SIGQUIT (PostgreSQL's immediate shutdown), then kills.
async fn end(child: &mut Child, signal: Signal) -> anyhow::Result<()> {
    for (signal, patience) in [(signal, FAST), (Signal::SIGQUIT, IMMEDIATE)] {
        if let Some(pid) = child.id() {
            // Not there any more is what we want.
            let _ = kill(Pid::from_raw(i32::try_from(pid)?), signal);
        }
        if tokio::time::timeout(patience, child.wait()).await.is_ok() {
            return Ok(());
        }
    }
    Ok(child.kill().await?)
}
