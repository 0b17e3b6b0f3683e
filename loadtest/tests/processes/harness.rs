//! A running stack for the tests: real processes of the built binary, on free ports.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde::Deserialize;

/// The built binary, without this shell's own database and secrets.
pub(crate) fn workbench() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_workbench"));
    for variable in
        ["DATABASE_URL", "DATABASE_URL_FILE", "JWT_SECRET", "JWT_SECRET_FILE", "POSTGRES_PASSWORD"]
    {
        command.env_remove(variable);
    }
    command
}

/// What `workbench up --json` prints.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Addresses {
    pub(crate) frontend: String,
    pub(crate) balancer: String,
    pub(crate) gateways: [String; 2],
    pub(crate) cache: String,
    pub(crate) search: String,
    pub(crate) booking: String,
    pub(crate) queue: String,
    pub(crate) notification: String,
    pub(crate) collector: String,
    pub(crate) otlp_grpc: String,
    pub(crate) otlp_http: String,
    pub(crate) database_url: String,
    pub(crate) folder: PathBuf,
    pub(crate) processes: BTreeMap<String, Running>,
}

/// One process of the stack.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Running {
    pub(crate) pid: i32,
    pub(crate) log: PathBuf,
}

/// `workbench up`, ready; stopped when dropped.
#[derive(Debug)]
pub(crate) struct Stack {
    pub(crate) addresses: Addresses,
    pub(crate) child: Child,
}

impl Stack {
    /// Free ports, nothing else out of the ordinary.
    pub(crate) fn start() -> Self {
        Self::start_with(|_| {})
    }

    /// `change` adds arguments or environment, such as a smaller store.
    pub(crate) fn start_with(change: impl FnOnce(&mut Command)) -> Self {
        let mut command = workbench();
        command.args(["up", "--free-ports", "--json"]).stdin(Stdio::null()).stdout(Stdio::piped());
        change(&mut command);
        let mut child = command.spawn().expect("the workbench starts");
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let addresses = serde_json::from_str(&line).unwrap_or_else(|error| {
            panic!("no stack ({error}); it ended: {}", child.wait().unwrap());
        });
        Self { addresses, child }
    }

    /// Everything that this role (an instance name, such as `api_gateway_1`) has logged so far.
    pub(crate) fn log(&self, role: &str) -> String {
        fs::read_to_string(&self.addresses.processes[role].log).unwrap()
    }

    /// Sends `signal` to a role.
    pub(crate) fn signal(&self, role: &str, signal: Signal) {
        send_signal(self.addresses.processes[role].pid, signal);
    }

    /// SIGINT, as from Ctrl-C, and how the workbench ended.
    pub(crate) fn stop(mut self) -> ExitStatus {
        self.interrupt()
    }

    fn interrupt(&mut self) -> ExitStatus {
        if let Some(status) = self.child.try_wait().unwrap() {
            return status;
        }
        kill(Pid::from_raw(self.child.id().try_into().unwrap()), Signal::SIGINT).unwrap();
        self.child.wait().unwrap()
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        self.interrupt();
    }
}

/// Sends `signal` to a process that the test started.
pub(crate) fn send_signal(pid: i32, signal: Signal) {
    kill(Pid::from_raw(pid), signal).unwrap();
}

/// Waits until `condition` holds; fails the test, naming it, when it does not within half a minute.
pub(crate) fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < Duration::from_secs(30), "never happened: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// As [`eventually`], for what is asked of a server: fails with what was last wrong.
pub(crate) async fn comes_right(is_wrong: impl AsyncFn() -> Option<String>) {
    let start = Instant::now();
    while let Some(wrong) = is_wrong().await {
        assert!(start.elapsed() < Duration::from_secs(30), "{wrong}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Whether the process runs; one that has ended and was not waited for does not.
pub(crate) fn is_alive(pid: i32) -> bool {
    match fs::read_to_string(format!("/proc/{pid}/stat")) {
        // The state follows the name, which stands in parentheses and may hold anything.
        Ok(stat) => !stat.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with('Z')),
        Err(_) if Path::new("/proc/self/stat").exists() => false,
        Err(_) => kill(Pid::from_raw(pid), None).is_ok(),
    }
}
