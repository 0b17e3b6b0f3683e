//! One child process of the stack. Its output goes to a log file; its stdin is a pipe that only the stack holds.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use telemetry::LogFile;
use tokio::process::{Child, ChildStdout, Command};

/// Number of bytes at the end of each log file that are read for its last lines.
const TAIL_BYTES: u64 = 32 * 1024;

/// The log of a process, and its maximum size.
#[derive(Clone, Debug)]
pub(crate) struct Log {
    pub(crate) path: PathBuf,
    pub(crate) max_bytes: u64,
}

/// A child that runs or has ended.
#[derive(Debug)]
pub(crate) struct ChildProcess {
    pub(crate) pid: u32,
    pub(crate) log: PathBuf,
    pub(crate) started: Instant,
    child: Child,
    // Held open, so that the last lines can be read even after the file has been removed.
    output: File,
}

impl ChildProcess {
    /// Starts `command`. The process itself limits the size of its log. Its stdout is written to the log, too, unless
    /// `stdout_piped`.
    pub(crate) fn start(log: &Log, mut command: Command, stdout_piped: bool) -> io::Result<Self> {
        let Log { path, max_bytes } = log;
        // Its first lines, and those of a panic, are written through stdout and stderr.
        let output = OpenOptions::new().create(true).append(true).read(true).mode(0o600).open(path)?;
        command.env("LOG_FILE", path).env("LOG_FILE_MAX_BYTES", max_bytes.to_string());
        let stdout = if stdout_piped { Stdio::piped() } else { output.try_clone()?.into() };
        command.stdin(Stdio::piped()).stdout(stdout).stderr(output.try_clone()?);
        // Ctrl-C in a terminal goes to the whole foreground group; the stack stops its children itself, in order.
        let child = command.process_group(0).kill_on_drop(true).spawn()?;
        let pid = child.id().unwrap_or_default();
        Ok(Self { pid, log: path.clone(), started: Instant::now(), child, output })
    }

    /// Returns the read end of a piped stdout, the first time.
    pub(crate) fn stdout(&mut self) -> Option<ChildStdout> {
        self.child.stdout.take()
    }

    /// Returns the exit status if the process has ended.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// Returns the last `count` lines of the log.
    pub(crate) fn last_lines(&self, count: usize) -> String {
        last_lines(&self.log, Some(&self.output), count)
    }

    /// Sends SIGTERM unless the process has ended.
    pub(crate) fn terminate(&self) {
        self.signal(Signal::SIGTERM);
    }

    /// Sends SIGKILL unless the process has ended.
    pub(crate) fn start_kill(&self) {
        self.signal(Signal::SIGKILL);
    }

    /// Waits until the process ends; kills it at `deadline`.
    pub(crate) async fn wait(&mut self, deadline: tokio::time::Instant) -> io::Result<ExitStatus> {
        match tokio::time::timeout_at(deadline, self.child.wait()).await {
            Ok(status) => status,
            Err(_) => {
                self.child.start_kill()?;
                self.child.wait().await
            }
        }
    }

    /// Kills the process and waits for its end. For use outside a runtime.
    pub(crate) fn kill(&mut self) {
        if self.child.start_kill().is_ok() {
            self.wait_blocking(Duration::from_secs(5));
        }
    }

    /// Closes the process's stdin, which ends it; kills it after `timeout`.
    pub(crate) fn release(&mut self, timeout: Duration) {
        drop(self.child.stdin.take());
        if !self.wait_blocking(timeout) {
            self.kill();
        }
    }

    fn wait_blocking(&mut self, timeout: Duration) -> bool {
        let start = Instant::now();
        while self.ended().is_none() {
            if start.elapsed() > timeout {
                return false;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        true
    }

    fn signal(&self, signal: Signal) {
        // `id` is `None` after the process was waited for, because its number may have been reused.
        if let Some(pid) = self.child.id().and_then(|pid| i32::try_from(pid).ok()) {
            // An error means that the process has just ended.
            let _ = kill(Pid::from_raw(pid), signal);
        }
    }
}

/// Returns the last `count` lines of the log at `path`; those of `open`, if the file has been removed.
pub(crate) fn last_lines(path: &Path, open: Option<&File>, count: usize) -> String {
    let files = [LogFile::older(path), path.to_owned()];
    let mut bytes: Vec<u8> =
        files.iter().filter_map(|path| File::open(path).ok()).flat_map(|file| tail(&file)).collect();
    if bytes.is_empty() {
        bytes = open.map(tail).unwrap_or_default();
    }
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(count)..].join("\n")
}

/// Returns the last bytes of a file.
fn tail(file: &File) -> Vec<u8> {
    let length = file.metadata().map_or(0, |metadata| metadata.len());
    let start = length.saturating_sub(TAIL_BYTES);
    let mut bytes = vec![0; usize::try_from(length - start).unwrap_or_default()];
    let read = file.read_at(&mut bytes, start).unwrap_or_default();
    bytes.truncate(read);
    bytes
}
