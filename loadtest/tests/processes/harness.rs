//! Shared by all process tests: runs the binary, starts roles and stacks, sends requests and waits for conditions.

mod api;
mod booking;
mod collector;
mod load;
mod machine;
mod role;
mod stack;
mod store;

use std::fs;
use std::io::PipeWriter;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Output};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

pub(crate) use api::Api;
pub(crate) use booking::{Answer, BookingsLock, answer, count_bookings};
pub(crate) use collector::Collector;
pub(crate) use load::{FinishedLoad, Load, RunningLoad, sum};
pub(crate) use machine::ExclusiveMachine;
pub(crate) use role::RoleProcess;
pub(crate) use stack::{Addresses, Stack};
pub(crate) use store::Store;

/// Maximum wait for a condition.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Interval between two checks of a condition.
const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// An HTTP client that does not use the proxy of the environment.
#[allow(clippy::disallowed_methods, reason = "the one place that creates a client")]
pub(crate) fn http() -> reqwest::Client {
    reqwest::Client::builder().no_proxy().build().unwrap()
}

/// The built binary, without the database and the secrets of the environment that runs the tests.
pub(crate) fn workbench() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_workbench"));
    for variable in
        ["DATABASE_URL", "DATABASE_URL_FILE", "JWT_SECRET", "JWT_SECRET_FILE", "POSTGRES_PASSWORD"]
    {
        command.env_remove(variable);
    }
    command
}

/// Exit status and output of a finished command.
#[derive(Debug)]
pub(crate) struct Finished(Output);

impl Finished {
    /// Exit code; `None` after a signal.
    pub(crate) fn code(&self) -> Option<i32> {
        self.0.status.code()
    }

    pub(crate) fn stdout(&self) -> &[u8] {
        &self.0.stdout
    }

    pub(crate) fn stderr(&self) -> String {
        String::from_utf8_lossy(&self.0.stderr).into_owned()
    }

    /// Replaces standard error by what the test has read itself.
    pub(crate) fn with_stderr(mut self, stderr: String) -> Self {
        self.0.stderr = stderr.into_bytes();
        self
    }

    /// Standard output, then standard error.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.stdout).into_owned() + &self.stderr()
    }

    /// Asserts exit code 0.
    pub(crate) fn succeeded(self) -> Self {
        assert_eq!(self.code(), Some(0), "{}", self.text());
        self
    }

    /// Asserts this exit code and an error message that contains `message`.
    pub(crate) fn failed(self, code: i32, message: &str) -> Self {
        let stderr = self.stderr();
        assert_eq!(self.code(), Some(code), "expected {message:?}: {stderr}");
        assert!(stderr.starts_with("error: ") && stderr.contains(message), "expected {message:?}: {stderr}");
        self
    }
}

/// Runs a command to its end.
pub(crate) fn run(command: &mut Command) -> Finished {
    Finished(command.output().unwrap())
}

/// Waits for a child whose output is piped.
pub(crate) fn finish(child: Child) -> Finished {
    Finished(child.wait_with_output().unwrap())
}

/// A loopback address with a port that was free a moment ago.
pub(crate) fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// A pipe without a reader: each write fails.
pub(crate) fn closed_pipe() -> PipeWriter {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    writer
}

/// Waits until `condition` holds; fails the test after [`TIMEOUT`].
pub(crate) fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < TIMEOUT, "not within {TIMEOUT:?}: {what}");
        std::thread::sleep(POLL_INTERVAL);
    }
}

/// Waits until `problem` returns `None`; after [`TIMEOUT`] fails the test with the last problem.
pub(crate) async fn eventually_without<F: Future<Output = Option<String>>>(problem: impl Fn() -> F) {
    let start = Instant::now();
    while let Some(problem) = problem().await {
        assert!(start.elapsed() < TIMEOUT, "still after {TIMEOUT:?}: {problem}");
        tokio::time::sleep(POLL_INTERVAL).await;
    }
}

/// The JSON body of a successful GET.
pub(crate) async fn get_json(url: impl AsRef<str>) -> Value {
    let reply = http().get(url.as_ref()).send().await.unwrap().error_for_status().unwrap();
    reply.json().await.unwrap()
}

/// The body of a GET, or `None` when the request fails or the status is not 2xx. Works with and without a runtime.
pub(crate) fn get_blocking(url: &str) -> Option<String> {
    let get = async || http().get(url).send().await.ok()?.error_for_status().ok()?.text().await.ok();
    let on_own_runtime = || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(get())
    };
    // A thread that runs a runtime cannot start a second one.
    std::thread::scope(|scope| scope.spawn(on_own_runtime).join().unwrap())
}

/// The process id of a child.
pub(crate) fn pid_of(child: &Child) -> i32 {
    child.id().try_into().unwrap()
}

/// Sends `signal` to a process that the test started.
pub(crate) fn send_signal(pid: i32, signal: Signal) {
    kill(Pid::from_raw(pid), signal).unwrap();
}

/// Whether the process runs; a zombie does not.
pub(crate) fn is_alive(pid: i32) -> bool {
    match fs::read_to_string(format!("/proc/{pid}/stat")) {
        // The state follows the name, which is in parentheses and may contain any character.
        Ok(stat) => !stat.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with('Z')),
        Err(_) if Path::new("/proc/self/stat").exists() => false,
        Err(_) => kill(Pid::from_raw(pid), None).is_ok(),
    }
}
