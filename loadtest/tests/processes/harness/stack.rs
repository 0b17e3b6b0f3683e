//! A running stack: `workbench up` on free ports.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};

use nix::sys::signal::Signal;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use super::machine::MachineShare;
use super::{ExclusiveMachine, eventually, get_blocking, pid_of, send_signal, workbench};

/// The file `addresses.json` of a stack.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Addresses {
    pub(crate) frontend: String,
    pub(crate) balancer: String,
    pub(crate) gateways: Vec<String>,
    #[serde(deserialize_with = "first")]
    pub(crate) cache: String,
    #[serde(deserialize_with = "first")]
    pub(crate) search: String,
    #[serde(deserialize_with = "first")]
    pub(crate) booking: String,
    #[serde(deserialize_with = "first")]
    pub(crate) queue: String,
    #[serde(deserialize_with = "first")]
    pub(crate) notification: String,
    pub(crate) collector: String,
    pub(crate) otlp_grpc: String,
    pub(crate) otlp_http: String,
    pub(crate) query_grpc: String,
    pub(crate) database_url: String,
    pub(crate) folder: PathBuf,
    processes: BTreeMap<String, StackProcess>,
}

/// The URL of a role; the first one if it runs in several processes.
fn first<'de, D: Deserializer<'de>>(value: D) -> Result<String, D::Error> {
    let value = Value::deserialize(value)?;
    let url = value.as_array().map_or(Some(&value), |urls| urls.first());
    url.and_then(Value::as_str).map(str::to_owned).ok_or_else(|| D::Error::custom("no URL"))
}

/// One process of the stack.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct StackProcess {
    /// `None` while the process waits to be started again.
    pub(crate) pid: Option<i32>,
    pub(crate) role: String,
    pub(crate) port: Option<u16>,
    log: PathBuf,
    pub(crate) restarts: u32,
}

/// A ready stack, stopped when dropped.
#[derive(Debug)]
pub(crate) struct Stack {
    pub(crate) addresses: Addresses,
    /// The output of `workbench up --json`.
    pub(crate) printed: Value,
    pub(crate) child: Child,
    _share: Option<MachineShare>,
}

impl Stack {
    pub(crate) fn start() -> Self {
        Self::start_with(|_| {})
    }

    /// With the two tutors and two students of the original system.
    pub(crate) fn start_small() -> Self {
        Self::start_with(|up| {
            up.args(["--tutors", "2", "--students", "2"]);
        })
    }

    /// `change` adds arguments or environment, such as a smaller store.
    pub(crate) fn start_with(change: impl FnOnce(&mut Command)) -> Self {
        Self::spawn(Some(MachineShare::acquire()), change)
    }

    /// For a test that holds the machine.
    pub(crate) fn start_on(_machine: &ExclusiveMachine) -> Self {
        Self::spawn(None, |_| {})
    }

    fn spawn(share: Option<MachineShare>, change: impl FnOnce(&mut Command)) -> Self {
        let mut command = workbench();
        command.args(["up", "--free-ports", "--json"]).stdin(Stdio::null()).stdout(Stdio::piped());
        change(&mut command);
        let mut child = command.spawn().expect("workbench starts");
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let printed: Value = serde_json::from_str(&line).unwrap_or_else(|error| {
            panic!("workbench up printed no addresses ({error}): {}", child.wait().unwrap());
        });
        let addresses = serde_json::from_value(printed.clone()).unwrap();
        let mut stack = Self { addresses, printed, child, _share: share };
        // What is printed lacks the password of the database.
        let file = stack.addresses.folder.join("addresses.json");
        stack.addresses = serde_json::from_slice(&fs::read(file).unwrap()).unwrap();
        stack
    }

    /// The processes of the stack at present.
    pub(crate) fn processes(&self) -> BTreeMap<String, StackProcess> {
        match fs::read(self.addresses.folder.join("addresses.json")) {
            Ok(file) => serde_json::from_slice::<Addresses>(&file).unwrap().processes,
            // The stack has stopped.
            Err(_) => self.addresses.processes.clone(),
        }
    }

    /// The process id of an instance that runs, such as `api_gateway_1`.
    pub(crate) fn pid(&self, instance: &str) -> i32 {
        self.processes()[instance].pid.unwrap()
    }

    /// The process ids of all instances, of the private PostgreSQL and of its keeper.
    pub(crate) fn pids(&self) -> Vec<i32> {
        self.processes().values().filter_map(|process| process.pid).collect()
    }

    /// Waits until an instance runs again in a process other than `pid`, and is ready if it is a role.
    pub(crate) fn restarted(&self, instance: &str, pid: i32) -> StackProcess {
        let mut now = self.processes()[instance].clone();
        eventually(&format!("{instance} runs again"), || {
            now = self.processes()[instance].clone();
            let is_ready = |port| get_blocking(&format!("http://127.0.0.1:{port}/health/ready")).is_some();
            let has_health = !["database", "keeper"].contains(&instance);
            now.pid.is_some_and(|now| now != pid) && (!has_health || now.port.is_some_and(is_ready))
        });
        now
    }

    /// The log of an instance up to now.
    pub(crate) fn log(&self, instance: &str) -> String {
        fs::read_to_string(&self.addresses.processes[instance].log).unwrap()
    }

    /// The complete log lines of an instance up to now. Every line is JSON.
    pub(crate) fn log_lines(&self, instance: &str) -> Vec<Value> {
        let log = self.log(instance);
        // The last line may be half written.
        let complete = log.split_inclusive('\n').filter(|line| line.ends_with('\n'));
        complete.map(|line| serde_json::from_str(line).expect("a log line is JSON")).collect()
    }

    /// The log lines of an instance that have this message.
    pub(crate) fn log_lines_with(&self, instance: &str, message: &str) -> Vec<Value> {
        self.log_lines(instance).into_iter().filter(|line| line["message"] == message).collect()
    }

    /// Sends `signal` to an instance.
    pub(crate) fn signal(&self, instance: &str, signal: Signal) {
        send_signal(self.pid(instance), signal);
    }

    /// Interrupts the stack, as Ctrl-C does, and waits for its end.
    pub(crate) fn stop(mut self) -> ExitStatus {
        self.interrupt()
    }

    fn interrupt(&mut self) -> ExitStatus {
        if let Some(status) = self.child.try_wait().unwrap() {
            return status;
        }
        send_signal(pid_of(&self.child), Signal::SIGINT);
        self.child.wait().unwrap()
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        self.interrupt();
    }
}
