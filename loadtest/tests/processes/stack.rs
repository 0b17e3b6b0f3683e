//! `workbench up` as a user meets it: real processes, real signals, and nothing left behind.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use crate::harness::{Addresses, Stack, eventually, is_alive, workbench};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

/// What a stack occupies, noted while it runs.
struct Footprint {
    addresses: Addresses,
    pids: Vec<i32>,
}

impl Footprint {
    fn of(stack: &Stack) -> Self {
        let mut pids: Vec<i32> = stack.addresses.processes.values().map(|running| running.pid).collect();
        pids.extend(postmaster(&stack.addresses));
        Self { addresses: stack.addresses.clone(), pids }
    }

    fn left(&self) -> Vec<String> {
        let pids = self.pids.iter().filter(|pid| is_alive(**pid)).map(|pid| format!("process {pid}"));
        let ports = ports(&self.addresses)
            .into_iter()
            .filter(|port| is_open(*port))
            .map(|port| format!("port {port}"));
        let folder = self.addresses.folder.exists().then(|| self.addresses.folder.display().to_string());
        pids.chain(ports).chain(folder).collect()
    }
}

fn postmaster(addresses: &Addresses) -> Option<i32> {
    let note = fs::read_to_string(addresses.folder.join("postgres/data/postmaster.pid")).ok()?;
    note.lines().next()?.parse().ok()
}

fn ports(addresses: &Addresses) -> Vec<u16> {
    let a = addresses;
    let roles = [
        &a.frontend,
        &a.balancer,
        &a.gateways[0],
        &a.gateways[1],
        &a.cache,
        &a.search,
        &a.booking,
        &a.queue,
        &a.notification,
        &a.collector,
        &a.otlp_grpc,
        &a.otlp_http,
    ];
    let port = |url: &String| url.split('/').nth(2).unwrap().rsplit(':').next().unwrap().parse().unwrap();
    roles.into_iter().chain([&a.database_url]).map(port).collect()
}

fn is_open(port: u16) -> bool {
    TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok()
}

/// A folder for temporary files that PostgreSQL's user may pass through.
fn temporary() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o711)).unwrap();
    folder
}

fn is_empty(folder: &Path) -> bool {
    fs::read_dir(folder).unwrap().next().is_none()
}

fn run(command: &mut Command) -> (Output, String) {
    let output = command.output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    (output, error)
}

/// Starts `up` and returns once its keeper is making the database.
fn starting(folder: &Path) -> Child {
    let child =
        workbench().args(["up", "--free-ports"]).env("TMPDIR", folder).stdout(Stdio::null()).spawn().unwrap();
    eventually("the database's folder is there", || {
        fs::read_dir(folder).unwrap().flatten().any(|stack| stack.path().join("postgres").exists())
    });
    child
}

fn pid(child: &Child) -> Pid {
    Pid::from_raw(child.id().try_into().unwrap())
}

#[test]
fn ctrl_c_stops_everything_that_up_started() {
    let stack = Stack::start();
    let footprint = Footprint::of(&stack);
    assert_eq!(
        footprint.pids.len(),
        12,
        "ten roles (two gateways), the keeper and its PostgreSQL: {footprint:?}",
        footprint = footprint.pids
    );
    assert!(ports(&stack.addresses).into_iter().all(is_open));
    assert_eq!(stack.stop().code(), Some(0));
    assert_eq!(footprint.left(), [""; 0]);
}

#[test]
fn a_killed_workbench_leaves_nothing() {
    let mut stack = Stack::start();
    let footprint = Footprint::of(&stack);
    stack.child.kill().unwrap();
    assert_eq!(stack.child.wait().unwrap().signal(), Some(Signal::SIGKILL as i32));
    eventually("all is gone", || footprint.left().is_empty());
}

#[test]
fn ctrl_c_while_starting_leaves_nothing() {
    let folder = temporary();
    let mut child = starting(folder.path());
    kill(pid(&child), Signal::SIGINT).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert!(is_empty(folder.path()));
}

#[test]
fn a_workbench_killed_while_starting_leaves_nothing() {
    let folder = temporary();
    let mut child = starting(folder.path());
    child.kill().unwrap();
    child.wait().unwrap();
    eventually("the folder is gone", || is_empty(folder.path()));
}

/// Ends one process of a stack with SIGKILL and returns the last line it had logged and what the workbench said.
fn after_death_of(role: &str, pid: impl FnOnce(&Stack) -> i32) -> (String, String) {
    let mut stack = Stack::start_with(|command| {
        command.stderr(Stdio::piped());
    });
    let footprint = Footprint::of(&stack);
    let log = stack.log(role);
    kill(Pid::from_raw(pid(&stack)), Signal::SIGKILL).unwrap();
    let said = std::io::read_to_string(stack.child.stderr.take().unwrap()).unwrap();
    assert_eq!(stack.child.wait().unwrap().code(), Some(1), "{said}");
    assert_eq!(footprint.left(), [""; 0]);
    (log.lines().last().unwrap().to_owned(), said)
}

#[test]
fn a_role_that_dies_is_named_with_its_last_lines_and_takes_the_rest_along() {
    let (last_line, said) = after_death_of("queue", |stack| stack.addresses.processes["queue"].pid);
    assert!(said.starts_with("error: queue ended (signal: 9 (SIGKILL))"), "{said}");
    assert!(said.contains(&last_line), "{last_line} is not in {said}");
}

#[test]
fn a_database_that_dies_is_named() {
    let (_, said) = after_death_of("database", |stack| postmaster(&stack.addresses).unwrap());
    assert!(said.starts_with("error: database ended"), "{said}");
    assert!(said.contains("postgres ended: signal: 9 (SIGKILL)"), "{said}");
}

#[test]
fn a_killed_keeper_leaves_no_database_behind() {
    let (_, said) = after_death_of("database", |stack| stack.addresses.processes["database"].pid);
    assert!(said.starts_with("error: database ended (signal: 9 (SIGKILL))"), "{said}");
}

#[test]
fn two_stacks_run_side_by_side() {
    let first = Stack::start();
    let second = Stack::start();
    let second_ports = ports(&second.addresses);
    assert!(ports(&first.addresses).iter().all(|port| !second_ports.contains(port)));
    let footprint = Footprint::of(&first);
    assert_eq!(first.stop().code(), Some(0));
    assert_eq!(footprint.left(), [""; 0]);
    assert!(second_ports.into_iter().all(is_open), "stopping one stack does not touch the other");
}

#[test]
fn a_database_that_runs_already_is_used_and_left_alone() {
    let owner = Stack::start();
    let guest = Stack::start_with(|command| {
        command.env("DATABASE_URL", &owner.addresses.database_url);
    });
    assert_eq!(guest.addresses.database_url, owner.addresses.database_url);
    assert_eq!(postmaster(&guest.addresses), None);
    let folder = guest.addresses.folder.clone();
    assert_eq!(guest.stop().code(), Some(0));
    assert!(!folder.exists());
    assert!(is_alive(postmaster(&owner.addresses).unwrap()));
}

#[test]
fn a_taken_port_is_named_and_nothing_is_left() {
    let listen = |port: u16| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).ok();
    let is_free = |base: &u16| (*base..base + 12).all(|port| listen(port).is_some());
    let base = (9000..9900).step_by(12).find(is_free).unwrap();
    let _taken = listen(base + 7).unwrap();
    let folder = temporary();
    let (output, error) =
        run(workbench().args(["up", "--port-base", &base.to_string()]).env("TMPDIR", folder.path()));
    assert_eq!(output.status.code(), Some(2), "{error}");
    assert!(error.contains(&format!("port {} (queue)", base + 7)), "{error}");
    assert!(error.contains("--port-base") && error.contains("--free-ports"), "{error}");
    assert!(is_empty(folder.path()));
}

#[test]
fn without_postgresql_the_error_says_what_to_install() {
    let folder = temporary();
    let (output, error) = run(workbench()
        .args(["up", "--free-ports", "--postgres-bin", "/nonexistent"])
        .env("TMPDIR", folder.path()));
    assert_eq!(output.status.code(), Some(2), "{error}");
    assert!(error.contains("apt-get install postgresql") && error.contains("DATABASE_URL"), "{error}");
    assert!(is_empty(folder.path()));
}

/// A short demo, whose report is one JSON object, and whose temporary files all go to `folder`.
fn demo(folder: &TempDir) -> Command {
    let mut command = workbench();
    command.args(["demo", "--rate", "20", "--duration", "2s", "--seed", "7", "--json", "--out"]);
    command.arg(folder.path().join("runs")).env("TMPDIR", folder.path().join("stacks"));
    fs::create_dir(folder.path().join("stacks")).unwrap();
    command
}

#[test]
fn a_demo_reports_its_run_and_leaves_nothing_but_the_bundle() {
    let folder = temporary();
    let (output, error) = run(&mut demo(&folder));
    assert_eq!(output.status.code(), Some(0), "{error}");
    let run: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(run["seed"], 7);
    assert_eq!(run["ledger"]["complete"], run["ledger"]["expected"], "{}", run["ledger"]);
    assert_eq!(fs::read_dir(folder.path().join("runs")).unwrap().count(), 1);
    assert!(is_empty(&folder.path().join("stacks")));
}

#[test]
fn a_demo_may_leave_the_system_up_until_ctrl_c() {
    let folder = temporary();
    let mut child =
        demo(&folder).arg("--keep-up").stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let mut said = BufReader::new(child.stderr.take().unwrap()).lines().map(Result::unwrap);
    assert!(said.any(|line| line == "Ctrl-C stops all of it."));
    assert!(!is_empty(&folder.path().join("stacks")));
    kill(pid(&child), Signal::SIGINT).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert!(is_empty(&folder.path().join("stacks")));
}

#[test]
fn an_unusable_setting_is_told_in_the_words_of_the_role_that_refused_it() {
    let (output, error) = run(workbench().args(["up", "--free-ports"]).env("JWT_SECRET", "short"));
    assert_eq!(output.status.code(), Some(2), "{error}");
    assert!(error.contains("api_gateway_"), "{error}");
    assert!(error.contains("JWT_SECRET is not usable: shorter than 32 bytes"), "{error}");
}
