//! One child of the stack: its output goes straight to a log file, its stdin is a pipe that only we hold.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::process::{Child, Command};

/// How much of the end of a log file is looked at for its last lines.
const TAIL_BYTES: u64 = 32 * 1024;

/// A running child.
#[derive(Debug)]
pub(crate) struct Process {
    pub(crate) name: &'static str,
    pub(crate) log: PathBuf,
    pub(crate) pid: u32,
    /// When the stack stops, the lower depths stop first.
    pub(crate) depth: u8,
    child: Child,
    // CollectorArchive open, so that the last lines can be read even when the file has been removed.
    output: File,
}

impl Process {
    /// Starts `command`, logging to `NAME.log` in `folder`.
    pub(crate) fn start(
        name: &'static str,
        depth: u8,
        folder: &Path,
        mut command: Command,
    ) -> io::Result<Self> {
        let log = folder.join(name).with_extension("log");
        let output = OpenOptions::new().create(true).append(true).read(true).open(&log)?;
        command.stdin(Stdio::piped()).stdout(output.try_clone()?).stderr(output.try_clone()?);
        // Ctrl-C in a terminal goes to the whole foreground group; the children are stopped by us, in order.
        let child = command.process_group(0).kill_on_drop(true).spawn()?;
        let pid = child.id().unwrap_or_default();
        Ok(Self { name, log, pid, depth, child, output })
    }

    /// How the process ended, once it has.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// The last `count` lines of its log.
    pub(crate) fn last_lines(&self, count: usize) -> String {
        let length = self.output.metadata().map_or(0, |metadata| metadata.len());
        let start = length.saturating_sub(TAIL_BYTES);
        let mut bytes = vec![0; usize::try_from(length - start).unwrap_or_default()];
        let read = self.output.read_at(&mut bytes, start).unwrap_or_default();
        let text = String::from_utf8_lossy(&bytes[..read]);
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(count)..].join("\n")
    }

    /// SIGTERM, or nothing if it has ended.
    pub(crate) fn terminate(&self) {
        self.signal(Signal::SIGTERM);
    }

    /// Waits for the end; kills the process when `deadline` has passed.
    pub(crate) async fn wait(&mut self, deadline: tokio::time::Instant) -> io::Result<ExitStatus> {
        match tokio::time::timeout_at(deadline, self.child.wait()).await {
            Ok(status) => status,
            Err(_) => {
                self.child.start_kill()?;
                self.child.wait().await
            }
        }
    }

    /// SIGKILL and wait, for when there is no runtime to wait in.
    pub(crate) fn kill(&mut self) {
        if self.child.start_kill().is_ok() {
            self.wait_blocking(Duration::from_secs(5));
        }
    }

    /// Closes its stdin and gives it `patience` to end by itself; then SIGKILL.
    pub(crate) fn release(&mut self, patience: Duration) {
        drop(self.child.stdin.take());
        if !self.wait_blocking(patience) {
            self.kill();
        }
    }

    fn wait_blocking(&mut self, patience: Duration) -> bool {
        let start = Instant::now();
        while self.ended().is_none() {
            if start.elapsed() > patience {
                return false;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        true
    }

    fn signal(&self, signal: Signal) {
        // `id` is none once the process was waited for: its number may belong to another by then.
        if let Some(pid) = self.child.id().and_then(|pid| i32::try_from(pid).ok()) {
            // It may end at this very moment; then there is nobody left to signal.
            let _ = kill(Pid::from_raw(pid), signal);
        }
    }
}
