//! `workbench up` and `workbench demo`: real processes, real signals, and nothing left behind.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use nix::sys::signal::Signal;
use tempfile::TempDir;

use crate::harness::{Addresses, Stack, eventually, is_alive, pid_of, run, send_signal, workbench};

/// The processes, ports and folder of a running stack.
struct Footprint {
    addresses: Addresses,
    pids: Vec<i32>,
}

impl Footprint {
    fn of(stack: &Stack) -> Self {
        Self { addresses: stack.addresses.clone(), pids: stack.pids() }
    }

    /// Everything of the stack that still exists.
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

/// The addresses on which a process listens, as `/proc/net/tcp` and `tcp6` write them: hexadecimal, bytes reversed.
fn listening(pid: i32) -> Vec<String> {
    let descriptors = fs::read_dir(format!("/proc/{pid}/fd")).unwrap();
    let sockets: Vec<String> = descriptors
        .filter_map(|entry| fs::read_link(entry.ok()?.path()).ok())
        .filter_map(|link| Some(link.to_str()?.strip_prefix("socket:[")?.trim_end_matches(']').to_owned()))
        .collect();
    let tables =
        ["tcp", "tcp6"].map(|table| fs::read_to_string(format!("/proc/net/{table}")).unwrap_or_default());
    let rows = tables.iter().flat_map(|table| table.lines().skip(1));
    let columns = rows.map(|row| row.split_whitespace().collect::<Vec<_>>());
    // Column 3 is the state, 0A = listening; column 9 the inode.
    let own = columns.filter(|row| row[3] == "0A" && sockets.iter().any(|inode| inode == row[9]));
    own.map(|row| row[1].to_owned()).collect()
}

/// The process id of the private PostgreSQL.
fn postmaster(addresses: &Addresses) -> Option<i32> {
    let pid_file = fs::read_to_string(addresses.folder.join("postgres/data/postmaster.pid")).ok()?;
    pid_file.lines().next()?.parse().ok()
}

fn ports(addresses: &Addresses) -> Vec<u16> {
    let a = addresses;
    let single = [
        &a.frontend,
        &a.balancer,
        &a.cache,
        &a.search,
        &a.booking,
        &a.queue,
        &a.notification,
        &a.collector,
        &a.otlp_grpc,
        &a.otlp_http,
        &a.query_grpc,
    ];
    let port = |url: &String| url.split('/').nth(2).unwrap().rsplit(':').next().unwrap().parse().unwrap();
    single.into_iter().chain(&a.gateways).chain([&a.database_url]).map(port).collect()
}

fn is_open(port: u16) -> bool {
    TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok()
}

/// A folder for temporary files that the user of PostgreSQL can traverse.
fn temporary_folder() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o711)).unwrap();
    folder
}

fn is_empty(folder: &Path) -> bool {
    fs::read_dir(folder).unwrap().next().is_none()
}

/// Starts `up` and returns while it creates the database.
fn start_database(folder: &Path) -> Child {
    let child =
        workbench().args(["up", "--free-ports"]).env("TMPDIR", folder).stdout(Stdio::null()).spawn().unwrap();
    eventually("the database's folder exists", || {
        fs::read_dir(folder).unwrap().flatten().any(|stack| stack.path().join("postgres").exists())
    });
    child
}

#[test]
fn ctrl_c_stops_every_process() {
    let stack = Stack::start();
    let footprint = Footprint::of(&stack);
    let pids = &footprint.pids;
    assert_eq!(pids.len(), 12, "ten role processes (two gateways), the keeper and its PostgreSQL: {pids:?}");
    assert!(ports(&stack.addresses).into_iter().all(is_open));
    assert_eq!(stack.stop().code(), Some(0));
    assert_eq!(footprint.left(), [""; 0]);
}

#[test]
fn killed_workbench_leaves_nothing_behind() {
    let mut stack = Stack::start_small();
    // Processes that were started again stop as well.
    for instance in ["queue", "api_gateway_2", "database", "keeper"] {
        let pid = stack.pid(instance);
        send_signal(pid, Signal::SIGKILL);
        stack.restarted(instance, pid);
    }
    eventually("every process runs", || stack.pids().len() == 12);
    let footprint = Footprint::of(&stack);
    stack.child.kill().unwrap();
    assert_eq!(stack.child.wait().unwrap().signal(), Some(Signal::SIGKILL as i32));
    eventually("everything is gone", || footprint.left().is_empty());
}

#[test]
fn ctrl_c_during_startup_leaves_nothing_behind() {
    let folder = temporary_folder();
    let mut child = start_database(folder.path());
    send_signal(pid_of(&child), Signal::SIGINT);
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert!(is_empty(folder.path()));
}

#[test]
fn kill_during_startup_leaves_nothing_behind() {
    let folder = temporary_folder();
    let mut child = start_database(folder.path());
    child.kill().unwrap();
    child.wait().unwrap();
    eventually("the folder is gone", || is_empty(folder.path()));
}

/// Kills one process of a stack that stops when one ends; returns the last line of `instance`'s log and the error output of `up`.
fn kill_one(instance: &str) -> (String, String) {
    let mut stack = Stack::start_with(|command| {
        command.args(["--on-exit", "stop", "--tutors", "2", "--students", "2"]).stderr(Stdio::piped());
    });
    let footprint = Footprint::of(&stack);
    let log = stack.log(instance);
    stack.signal(instance, Signal::SIGKILL);
    let stderr = std::io::read_to_string(stack.child.stderr.take().unwrap()).unwrap();
    assert_eq!(stack.child.wait().unwrap().code(), Some(1), "{stderr}");
    assert_eq!(footprint.left(), [""; 0]);
    (log.lines().last().unwrap().to_owned(), stderr)
}

#[test]
fn killed_role_stops_the_stack_on_request_and_is_reported_with_its_last_log_line() {
    let (last_line, stderr) = kill_one("queue");
    assert!(stderr.starts_with("error: queue ended (signal: 9 (SIGKILL))"), "{stderr}");
    assert!(stderr.contains(&last_line), "{last_line} is not in {stderr}");
}

#[test]
fn killed_database_stops_the_stack_on_request() {
    let (last_line, stderr) = kill_one("database");
    assert!(stderr.starts_with("error: database ended (signal: 9 (SIGKILL))"), "{stderr}");
    assert!(stderr.contains(&last_line), "{last_line} is not in {stderr}");
}

#[test]
fn killed_keeper_stops_the_stack_and_the_database_on_request() {
    let (_, stderr) = kill_one("keeper");
    assert!(stderr.starts_with("error: keeper ended (signal: 9 (SIGKILL))"), "{stderr}");
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
fn existing_database_is_used_and_not_stopped() {
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
fn taken_port_is_reported_and_nothing_is_left_behind() {
    let listen = |port: u16| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).ok();
    let is_free = |base: &u16| (*base..base + 13).all(|port| listen(port).is_some());
    let base = (9000..9900).step_by(13).find(is_free).unwrap();
    let _taken = listen(base + 7).unwrap();
    let folder = temporary_folder();
    run(workbench().args(["up", "--port-base", &base.to_string()]).env("TMPDIR", folder.path()))
        .failed(2, &format!("127.0.0.1:{} (queue): address already in use (choose", base + 7))
        .failed(2, "--port-base")
        .failed(2, "--free-ports");
    assert!(is_empty(folder.path()));
}

#[test]
fn missing_postgresql_error_says_what_to_install() {
    let folder = temporary_folder();
    let mut up = workbench();
    up.args(["up", "--free-ports", "--postgres-bin", "/nonexistent"]).env("TMPDIR", folder.path());
    run(&mut up).failed(2, "apt-get install postgresql").failed(2, "DATABASE_URL");
    assert!(is_empty(folder.path()));
}

/// A short demo with a JSON report, whose bundle and temporary files are in `folder`.
fn demo(folder: &TempDir) -> Command {
    let mut command = workbench();
    command.args(["demo", "--rate", "20", "--duration", "2s", "--seed", "7", "--json", "--out"]);
    command.arg(folder.path().join("runs")).env("TMPDIR", folder.path().join("stacks"));
    fs::create_dir(folder.path().join("stacks")).unwrap();
    command
}

#[test]
fn demo_reports_its_run_and_leaves_only_the_bundle() {
    let folder = temporary_folder();
    let finished = run(&mut demo(&folder)).succeeded();
    let run: serde_json::Value = serde_json::from_slice(finished.stdout()).unwrap();
    assert_eq!(run["seed"], 7);
    assert_eq!(run["ledger"]["complete"], run["ledger"]["expected"], "{}", run["ledger"]);
    assert_eq!(fs::read_dir(folder.path().join("runs")).unwrap().count(), 1);
    assert!(is_empty(&folder.path().join("stacks")));
}

#[test]
fn demo_keep_up_runs_until_ctrl_c() {
    let folder = temporary_folder();
    let mut child =
        demo(&folder).arg("--keep-up").stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stderr = BufReader::new(child.stderr.take().unwrap()).lines().map(Result::unwrap);
    assert!(stderr.any(|line| line == "Press Ctrl-C to stop the system."));
    assert!(!is_empty(&folder.path().join("stacks")));
    send_signal(pid_of(&child), Signal::SIGINT);
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert!(is_empty(&folder.path().join("stacks")));
}

#[test]
fn up_reports_the_error_of_a_role_with_an_invalid_setting() {
    run(workbench().args(["up", "--free-ports"]).env("JWT_SECRET", "short"))
        .failed(2, "api_gateway_")
        .failed(2, "JWT_SECRET is invalid: must have at least 32 bytes");
}

#[test]
fn every_process_listens_on_loopback_only() {
    let stack = Stack::start_small();
    let footprint = Footprint::of(&stack);
    let addresses: Vec<String> = footprint.pids.iter().flat_map(|pid| listening(*pid)).collect();
    // Nine processes of roles with a port each, the collector's further ports, and PostgreSQL.
    assert!(addresses.len() >= 12, "{addresses:?}");
    let loopback = |address: &&String| !address.starts_with("0100007F:");
    assert_eq!(addresses.iter().find(loopback), None, "{addresses:?}");
}

#[test]
fn the_compose_file_publishes_ports_on_loopback_only() {
    let compose =
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../docker-compose.yml")).unwrap();
    let published: Vec<&str> =
        compose.lines().filter_map(|line| line.trim().strip_prefix("ports: [\"")).collect();
    assert_eq!(published.len(), compose.matches("ports:").count(), "a list in another form");
    assert!(
        published.len() >= 5 && published.iter().all(|port| port.starts_with("127.0.0.1:")),
        "{published:?}"
    );
}
