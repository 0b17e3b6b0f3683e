//! The process that owns the stack's folder and the private PostgreSQL in it, if there is one.
//!
//! It stops the server and removes the folder on SIGTERM or when its stdin closes, which happens even if the parent was
//! killed with SIGKILL. If the server ends by itself, the keeper fails and leaves the folder with the logs to the parent.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::{ExitCode, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use telemetry::LogFile;
use tokio::process::{Child, Command};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use super::postgres::{Binaries, Cluster, PASSWORD};
use crate::stop;

/// Maximum duration of PostgreSQL's fast shutdown.
const FAST_SHUTDOWN: Duration = Duration::from_secs(10);
/// Maximum duration of PostgreSQL's immediate shutdown.
const IMMEDIATE_SHUTDOWN: Duration = Duration::from_secs(3);
/// Maximum wait for the last lines of a server that has ended.
const LAST_LINES_TIMEOUT: Duration = Duration::from_secs(1);
/// Maximum time that the parent waits for the keeper.
pub(crate) const STOP_TIMEOUT: Duration = Duration::from_secs(15);

/// Returns the command that runs the keeper.
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

/// Runs the server, if there is one, until SIGTERM or the end of stdin; then removes the folder.
///
/// The server's lines are written to `log`, if there is one.
pub(crate) async fn keep(
    folder: &Path,
    cluster: Option<&Cluster>,
    log: Option<LogFile>,
) -> anyhow::Result<ExitCode> {
    let stop = stop::on_signal()?;
    stop::with_stdin(stop.clone())?;
    match cluster {
        Some(cluster) => serve(cluster, log, &stop).await?,
        None => stop.cancelled().await,
    }
    match std::fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", folder.display()))
        }
        _ => Ok(ExitCode::SUCCESS),
    }
}

async fn serve(cluster: &Cluster, log: Option<LogFile>, stop: &CancellationToken) -> anyhow::Result<()> {
    let mut initdb = start(cluster.initdb()?)?;
    tokio::select! {
        status = initdb.wait() => succeeded("initdb", status?)?,
        () = stop.cancelled() => return end(&mut initdb, Signal::SIGTERM).await,
    }
    let mut command = cluster.postgres()?;
    if log.is_some() {
        command.stderr(Stdio::piped());
    }
    let mut postgres = start(command)?;
    let logged = match (postgres.stderr.take(), log) {
        (Some(lines), Some(log)) => Some(copy(lines.into_owned_fd()?, log)?),
        _ => None,
    };
    let ended = tokio::select! {
        status = postgres.wait() => Err(anyhow!("postgres ended: {}", status?)),
        () = stop.cancelled() => end(&mut postgres, Signal::SIGINT).await,
    };
    if let Some(logged) = logged {
        // A process of the server that was killed may hold the pipe open for longer.
        let _ = tokio::time::timeout(LAST_LINES_TIMEOUT, logged).await;
    }
    ended
}

/// Copies the server's lines to the log on a thread. The receiver fires at the end of the lines.
fn copy(lines: OwnedFd, mut log: LogFile) -> io::Result<oneshot::Receiver<()>> {
    let (done, logged) = oneshot::channel();
    let work = move || {
        let (mut lines, mut buffer) = (File::from(lines), vec![0; 64 << 10]);
        while let Ok(read @ 1..) = lines.read(&mut buffer) {
            // The server must not wait for a log that cannot be written, for example on a full disk.
            let _ = log.write_all(&buffer[..read]);
        }
        let _ = done.send(());
    };
    std::thread::Builder::new().name("log".into()).spawn(work)?;
    Ok(logged)
}

fn start(mut command: Command) -> anyhow::Result<Child> {
    let program = command.as_std().get_program().to_owned();
    command.kill_on_drop(true).spawn().with_context(|| format!("cannot start {}", program.display()))
}

fn succeeded(program: &str, status: ExitStatus) -> anyhow::Result<()> {
    if !status.success() {
        bail!("{program} ended: {status}");
    }
    Ok(())
}

/// Ends the child with `signal`, then with SIGQUIT (PostgreSQL's immediate shutdown), then with SIGKILL.
async fn end(child: &mut Child, signal: Signal) -> anyhow::Result<()> {
    for (signal, timeout) in [(signal, FAST_SHUTDOWN), (Signal::SIGQUIT, IMMEDIATE_SHUTDOWN)] {
        if let Some(pid) = child.id() {
            // An error means that the process has ended already.
            let _ = kill(Pid::from_raw(i32::try_from(pid)?), signal);
        }
        if tokio::time::timeout(timeout, child.wait()).await.is_ok() {
            return Ok(());
        }
    }
    Ok(child.kill().await?)
}
