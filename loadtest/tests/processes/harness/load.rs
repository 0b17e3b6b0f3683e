//! `workbench load` in a process of its own, and the run that it writes.

use std::ffi::OsStr;
use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use nix::sys::signal::Signal;
use serde_json::Value;
use tempfile::TempDir;

use super::{Finished, Stack, finish, pid_of, run, send_signal, workbench};

/// A load to be run, with a folder for its bundle.
pub(crate) struct Load {
    command: Command,
    out: TempDir,
}

impl Load {
    /// Against a stack, with the stack's own collector.
    pub(crate) fn of(stack: &Stack, arguments: &[&str]) -> Self {
        let addresses = &stack.addresses;
        Self::with_collector(stack, &addresses.collector, &addresses.otlp_grpc, arguments)
    }

    /// Against a stack, with these collector and OTLP addresses.
    pub(crate) fn with_collector(stack: &Stack, collector: &str, otlp: &str, arguments: &[&str]) -> Self {
        let (out, mut command) = (TempDir::new().unwrap(), workbench());
        command
            .args(["load", "--target", &stack.addresses.balancer, "--collector", collector, "--otlp", otlp])
            .args(arguments)
            .stdin(Stdio::null());
        if !arguments.contains(&"--out") {
            command.arg("--out").arg(out.path());
        }
        Self { command, out }
    }

    /// Adds arguments or environment.
    pub(crate) fn change(&mut self, change: impl FnOnce(&mut Command)) {
        change(&mut self.command);
    }

    pub(crate) fn program(&self) -> &OsStr {
        self.command.get_program()
    }

    /// The arguments, without the folder for the bundle.
    pub(crate) fn arguments(&self) -> impl Iterator<Item = &OsStr> {
        self.command.get_args().take_while(|argument| *argument != "--out")
    }

    /// Runs the load to its end with these outputs.
    pub(crate) fn run_with(mut self, stdout: Stdio, stderr: Stdio) -> FinishedLoad {
        let child = self.command.stdout(stdout).stderr(stderr).spawn().unwrap();
        FinishedLoad { finished: finish(child), out: self.out }
    }

    /// Limits the number of file descriptors that the load may open, softly or for good.
    pub(crate) fn with_descriptors(mut self, limit: &str) -> Self {
        let mut shell = Command::new("sh");
        shell.args(["-c", &format!("ulimit {limit}; exec \"$0\" \"$@\"")]);
        shell.arg(self.command.get_program()).args(self.command.get_args()).stdin(Stdio::null());
        for (name, _) in self.command.get_envs().filter(|(_, value)| value.is_none()) {
            shell.env_remove(name);
        }
        self.command = shell;
        self
    }

    /// Runs the load to its end.
    pub(crate) fn run(mut self) -> FinishedLoad {
        FinishedLoad { finished: run(&mut self.command), out: self.out }
    }

    /// Starts the load.
    pub(crate) fn start(mut self) -> RunningLoad {
        let command = self.command.stdout(Stdio::piped()).stderr(Stdio::piped());
        RunningLoad { child: command.spawn().unwrap(), out: self.out }
    }
}

/// A load under way.
pub(crate) struct RunningLoad {
    child: Child,
    out: TempDir,
}

impl RunningLoad {
    /// Sends a signal. The load may have ended meanwhile, but its process is not reaped before [`finish`](Self::finish).
    pub(crate) fn signal(&self, signal: Signal) {
        send_signal(pid_of(&self.child), signal);
    }

    /// Whether the telemetry thread runs. It starts after the signal handlers are installed.
    pub(crate) fn has_threads(&self) -> bool {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.child.id())).unwrap();
        let mut names = tasks.filter_map(|task| fs::read_to_string(task.ok()?.path().join("comm")).ok());
        names.any(|name| name.contains("span"))
    }

    pub(crate) fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    pub(crate) fn finish(self) -> FinishedLoad {
        FinishedLoad { finished: finish(self.child), out: self.out }
    }
}

/// Output and bundle of a load that has ended.
pub(crate) struct FinishedLoad {
    pub(crate) finished: Finished,
    out: TempDir,
}

impl FinishedLoad {
    pub(crate) fn code(&self) -> Option<i32> {
        self.finished.code()
    }

    pub(crate) fn text(&self) -> String {
        self.finished.text()
    }

    /// Everything in the output folder.
    pub(crate) fn written(&self) -> Vec<PathBuf> {
        fs::read_dir(self.out.path()).unwrap().map(|entry| entry.unwrap().path()).collect()
    }

    /// The folder of the one bundle that was written.
    pub(crate) fn bundle(&self) -> PathBuf {
        let mut written = self.written();
        assert_eq!(written.len(), 1, "one bundle and no partial one: {written:?}; {}", self.text());
        written.remove(0)
    }

    /// `run.json`.
    pub(crate) fn run(&self) -> Value {
        serde_json::from_slice(&fs::read(self.bundle().join("run.json")).unwrap()).unwrap()
    }
}

/// Sum of one count over the requests of a run.
pub(crate) fn sum(run: &Value, count: &str) -> u64 {
    run["requests"].as_array().unwrap().iter().map(|row| row[count].as_u64().unwrap()).sum()
}
