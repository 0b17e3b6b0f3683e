//! The process that owns the stack's folder and the private PostgreSQL in it, if there is one.
//!
//! It stops the server and removes the folder on SIGTERM or when its stdin closes, which happens even if the parent was
//! killed with SIGKILL. A server that ends by itself is started again in the same folder and on the same port; the parent
//! reads what happens from the keeper's stdout ([`ServerEvent`]) and decides whether the stack continues.

use std::fs::File;
use std::io::{self, PipeReader, PipeWriter, Read as _, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{ExitCode, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use telemetry::LogFile;
use tokio::process::{Child, Command};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use super::backoff::Backoff;
use super::postgres::{self, Binaries, Cluster, PASSWORD};
use super::server_event::ServerEvent;
use crate::stop;

/// Maximum duration of PostgreSQL's fast shutdown.
const FAST_SHUTDOWN: Duration = Duration::from_secs(10);
/// Maximum duration of PostgreSQL's immediate shutdown.
const IMMEDIATE_SHUTDOWN: Duration = Duration::from_secs(3);
/// Maximum wait for the last lines of a server that has ended.
const LAST_LINES_TIMEOUT: Duration = Duration::from_secs(1);
/// Interval between two checks whether a server that was started accepts connections.
const POLL_INTERVAL: Duration = Duration::from_millis(20);
/// Maximum time that the parent waits for the keeper.
pub(crate) const STOP_TIMEOUT: Duration = Duration::from_secs(15);

/// The keeper of a stack, as its parent starts it.
#[derive(Clone, Debug)]
pub(crate) struct Keeper {
    /// The stack's folder.
    pub(crate) folder: PathBuf,
    /// The server to run, if any.
    pub(crate) cluster: Option<Cluster>,
}

impl Keeper {
    /// Returns the command that runs the keeper.
    pub(crate) fn command(&self, executable: &Path) -> Command {
        let mut command = Command::new(executable);
        command.arg("keep").arg(&self.folder);
        if let Some(cluster) = &self.cluster {
            command.arg("--port").arg(cluster.port.to_string()).env(PASSWORD, &cluster.password);
            command.arg("--max-connections").arg(cluster.max_connections.to_string());
            if let Binaries::In(folder) = &cluster.binaries {
                command.arg("--postgres-bin").arg(folder);
            }
        }
        command
    }
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
    if cluster.exists() {
        // The server of an earlier keeper, which was killed.
        postgres::kill_left_over(&cluster.folder);
    } else {
        let mut command = cluster.initdb()?;
        // Stdout is for the events.
        command.stdout(io::stderr().as_fd().try_clone_to_owned()?);
        let mut initdb = start(command)?;
        tokio::select! {
            status = initdb.wait() => succeeded("initdb", status?)?,
            () = stop.cancelled() => return end(&mut initdb, Signal::SIGTERM).await,
        }
    }
    let (lines, logged) = match log {
        Some(log) => {
            let (reader, writer) = io::pipe()?;
            (Some(writer), Some(copy(reader, log)?))
        }
        None => (None, None),
    };
    let served = serve_again_and_again(cluster, lines, stop).await;
    if let Some(logged) = logged {
        // A process of the server that was killed may hold the pipe open for longer.
        let _ = tokio::time::timeout(LAST_LINES_TIMEOUT, logged).await;
    }
    served
}

/// Runs the server until `stop` is cancelled; starts it again each time that it ends by itself.
async fn serve_again_and_again(
    cluster: &Cluster,
    lines: Option<PipeWriter>,
    stop: &CancellationToken,
) -> anyhow::Result<()> {
    let mut backoff = Backoff::default();
    loop {
        let mut command = cluster.postgres()?;
        command.stdout(Stdio::null());
        if let Some(lines) = &lines {
            command.stderr(lines.try_clone()?);
        }
        let (mut server, started) = (start(command)?, Instant::now());
        let pid = server.id().unwrap_or_default();
        ServerEvent::Started { pid }.print();
        let status = tokio::select! {
            status = run(&mut server, cluster, pid) => status?,
            () = stop.cancelled() => return end(&mut server, Signal::SIGINT).await,
        };
        let delay = backoff.next(started.elapsed());
        ServerEvent::ended(status, backoff.failures(), delay).print();
        tokio::select! {
            () = tokio::time::sleep(delay) => {}
            () = stop.cancelled() => return Ok(()),
        }
    }
}

/// Waits for the end of the server; reports when it accepts connections, after its recovery.
async fn run(server: &mut Child, cluster: &Cluster, pid: u32) -> io::Result<ExitStatus> {
    let ready = async {
        while postgres::ready_server(&cluster.folder) != Some(pid) {
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    };
    tokio::select! {
        status = server.wait() => return status,
        () = ready => ServerEvent::Ready { pid }.print(),
    }
    server.wait().await
}

/// Copies the server's lines to the log on a thread. The receiver fires at the end of the lines.
fn copy(lines: PipeReader, mut log: LogFile) -> io::Result<oneshot::Receiver<()>> {
    let (done, logged) = oneshot::channel();
    let work = move || {
        let (mut lines, mut buffer) = (File::from(OwnedFd::from(lines)), vec![0; 64 << 10]);
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
