//! The processes of a stack: started together, listed, stopped in order.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::Instant;

use super::QUOTED_LOG_LINES;
use super::addresses::StackProcess;
use super::error::{Error, io};
use super::keeper;
use super::member::{End, Launch, Member, Surroundings};
use super::postgres;
use super::process::{ChildProcess, last_lines};
use super::role_process::KEEPER_STOP_ORDER;
use super::server_event::{self, ServerEvent};

/// Maximum time for a role to finish its requests when it stops.
pub(super) const STOP_TIMEOUT: Duration = Duration::from_secs(10);

/// Name of the private PostgreSQL server among the processes.
pub(super) const DATABASE: &str = "database";

/// The processes of a stack. Dropping the value kills them.
#[derive(Debug)]
pub(super) struct Processes {
    pub(super) members: Vec<Member>,
    /// The private PostgreSQL, a child of the keeper.
    pub(super) server: Option<Server>,
    pub(super) events: UnboundedReceiver<ServerEvent>,
    sender: UnboundedSender<ServerEvent>,
    pub(super) executable: PathBuf,
    folder: PathBuf,
    log_max_bytes: u64,
}

/// What the keeper has reported about its server.
#[derive(Debug)]
pub(super) struct Server {
    port: u16,
    pid: Option<u32>,
    starts: u32,
    /// The instant at which the server before this one ended.
    pub(super) ended_at: Option<Instant>,
}

impl Server {
    fn restarts(&self) -> u32 {
        self.starts.saturating_sub(1)
    }

    /// Records that the server has ended, or its keeper: the next keeper ends the server and starts another.
    pub(super) fn lost(&mut self) {
        self.pid = None;
        self.ended_at = Some(Instant::now());
    }

    pub(super) fn record(&mut self, event: &ServerEvent) {
        match event {
            ServerEvent::Started { pid } => {
                self.pid = Some(*pid);
                self.starts += 1;
            }
            ServerEvent::Ready { .. } => {}
            ServerEvent::Ended { .. } => self.lost(),
        }
    }
}

impl Processes {
    /// Returns no processes yet. The private server, if there is one, will listen on `database_port`.
    pub(super) fn new(
        folder: PathBuf,
        log_max_bytes: u64,
        database_port: Option<u16>,
    ) -> Result<Self, Error> {
        let executable = std::env::current_exe().map_err(io("cannot find this executable"))?;
        let server = database_port.map(|port| Server { port, pid: None, starts: 0, ended_at: None });
        let (sender, events) = unbounded_channel();
        Ok(Self { members: Vec::new(), server, events, sender, executable, folder, log_max_bytes })
    }

    /// Starts a process for the first time.
    pub(super) fn spawn(&mut self, launch: Launch) -> Result<(), Error> {
        let around = surroundings(&self.executable, &self.folder, self.log_max_bytes);
        let mut member = Member::start(launch, &around).map_err(io("cannot start a process"))?;
        follow(&mut member.process, &self.sender);
        self.members.push(member);
        Ok(())
    }

    /// Lets a member start or kill its process, if that is due. Returns whether a process was started.
    pub(super) fn act(&mut self, index: usize) -> std::io::Result<bool> {
        let around = surroundings(&self.executable, &self.folder, self.log_max_bytes);
        let started = self.members[index].act(&around)?;
        if started {
            follow(&mut self.members[index].process, &self.sender);
        }
        Ok(started)
    }

    /// Waits until a process ends and returns the error.
    pub(super) async fn ended(&mut self) -> Error {
        let mut children = match watch_children() {
            Ok(children) => children,
            Err(error) => return error,
        };
        loop {
            let ended = self.members.iter_mut().find_map(|member| Some((member.ended()?, member)));
            if let Some((end, member)) = ended {
                return error(member, &end);
            }
            tokio::select! {
                _ = children.recv() => {}
                Some(event) = self.events.recv() => {
                    if let Some(error) = self.server_ended(&event) {
                        return error;
                    }
                }
            }
        }
    }

    /// Records an event of the server. Returns the error if the server has ended.
    pub(super) fn server_ended(&mut self, event: &ServerEvent) -> Option<Error> {
        if let Some(server) = &mut self.server {
            server.record(event);
        }
        let ServerEvent::Ended { wait_status, .. } = event else { return None };
        let status = std::os::unix::process::ExitStatusExt::from_raw(*wait_status);
        Some(Error::Ended { name: DATABASE.into(), status, log: self.server_log(QUOTED_LOG_LINES) })
    }

    /// Returns the last lines of the server's log.
    pub(super) fn server_log(&self, count: usize) -> String {
        last_lines(&self.folder.join(DATABASE).with_extension("log"), None, count)
    }

    /// Returns what the file of the stack says about each process.
    pub(super) fn list(&self) -> BTreeMap<String, StackProcess> {
        let members = self.members.iter().map(|member| {
            let (role, port) = match &member.launch {
                Launch::Role(role) => (role.role.command(), Some(role.port)),
                Launch::Keeper(_) => (member.name(), None),
            };
            let (pid, log) = (member.pid(), member.process.log.clone());
            let process = StackProcess { pid, role: role.into(), port, log, restarts: member.restarts };
            (member.name().to_owned(), process)
        });
        let server = self.server.iter().map(|server| {
            let log = self.folder.join(DATABASE).with_extension("log");
            let (pid, port, restarts) = (server.pid, Some(server.port), server.restarts());
            (DATABASE.to_owned(), StackProcess { pid, role: DATABASE.into(), port, log, restarts })
        });
        members.chain(server).collect()
    }

    /// Stops the processes in order, each after it has finished its requests.
    pub(super) async fn stop(&mut self) -> Result<(), Error> {
        for stop_order in 0..=KEEPER_STOP_ORDER {
            let timeout = if stop_order == KEEPER_STOP_ORDER { keeper::STOP_TIMEOUT } else { STOP_TIMEOUT };
            let deadline = Instant::now() + timeout;
            let (mut now, later): (Vec<Member>, Vec<Member>) =
                self.members.drain(..).partition(|member| member.stop_order() == stop_order);
            self.members = later;
            now.iter().for_each(|member| member.process.terminate());
            for member in &mut now {
                member.process.wait(deadline).await.map_err(io("cannot stop a process"))?;
            }
        }
        Ok(())
    }
}

impl Drop for Processes {
    fn drop(&mut self) {
        let (mut keepers, mut roles): (Vec<Member>, Vec<Member>) =
            self.members.drain(..).partition(|member| member.stop_order() == KEEPER_STOP_ORDER);
        roles.iter_mut().for_each(|member| member.process.kill());
        keepers.iter_mut().for_each(|keeper| keeper.process.release(keeper::STOP_TIMEOUT));
        // If the keeper was killed, its server still runs.
        postgres::kill_left_over(&self.folder);
    }
}

/// Returns the error of a process that has ended.
pub(super) fn error(member: &Member, end: &End) -> Error {
    let log = member.process.last_lines(QUOTED_LOG_LINES);
    Error::Ended { name: member.name().to_owned(), status: end.status, log }
}

/// Returns a stream of the signals that say that a child has ended.
pub(super) fn watch_children() -> Result<Signal, Error> {
    signal(SignalKind::child()).map_err(io("cannot watch the processes"))
}

fn surroundings<'a>(
    executable: &'a std::path::Path,
    folder: &'a std::path::Path,
    log_max_bytes: u64,
) -> Surroundings<'a> {
    Surroundings { executable, folder, log_max_bytes }
}

/// Passes the events of a keeper on. Other processes have no piped stdout.
fn follow(process: &mut ChildProcess, events: &UnboundedSender<ServerEvent>) {
    if let Some(stdout) = process.stdout() {
        tokio::spawn(server_event::forward(stdout, events.clone()));
    }
}
