//! Restarts the processes of a running stack: those that end by themselves, and those whose restart is requested.

use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use super::control::RestartRequest;
use super::error::Error;
use super::member::{End, Launch, Member};
use super::processes::{self, DATABASE, STOP_TIMEOUT, watch_children};
use super::server_event::ServerEvent;
use super::{OnExit, START_TIMEOUT, Stack, readiness};
use crate::terminal;

/// Number of log lines that the report of an end quotes.
const QUOTED_LOG_LINES: usize = 5;
/// From this number of ends in a row on, each soon after a start, the report gives their number.
const REPEATEDLY: u32 = 3;

/// A check whether a process that was started again is ready.
struct Probe {
    instance: String,
    pid: Option<u32>,
    ready: bool,
}

impl Stack {
    /// Restarts processes for as long as the future is polled. Returns the error when one ends by itself and the stack has to
    /// stop because of it.
    pub(crate) async fn supervise(&mut self) -> Error {
        let mut children = match watch_children() {
            Ok(children) => children,
            Err(error) => return error,
        };
        let mut probes = JoinSet::new();
        loop {
            match self.act(&mut probes) {
                Ok(true) => self.publish(),
                Ok(false) => {}
                Err(error) => return error,
            }
            let due = self.processes.members.iter().filter_map(Member::due).min();
            tokio::select! {
                _ = children.recv() => {}
                () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {}
                request = self.requests.next() => self.request_restart(&request),
                Some(Ok(probe)) = probes.join_next() => self.report_readiness(&probe),
                Some(event) = self.processes.events.recv() => {
                    if let Err(error) = self.server_event(&event) {
                        return error;
                    }
                    self.publish();
                }
            }
        }
    }

    /// Records which processes have ended, and starts those that are due. Returns whether something changed.
    fn act(&mut self, probes: &mut JoinSet<Probe>) -> Result<bool, Error> {
        let mut changed = false;
        for index in 0..self.processes.members.len() {
            let member = &mut self.processes.members[index];
            if let Some(end) = member.ended() {
                if self.on_exit == OnExit::Stop && !end.requested {
                    return Err(processes::error(member, &end));
                }
                report_end(member, &end);
                if matches!(member.launch, Launch::Keeper(_))
                    && let Some(server) = &mut self.processes.server
                {
                    server.lost();
                }
                changed = true;
            }
            match self.processes.act(index) {
                Ok(true) => {
                    changed = true;
                    self.probe(index, probes);
                }
                Ok(false) => {}
                Err(error) => {
                    let name = self.processes.members[index].name();
                    let reason = terminal::os_reason(&error);
                    terminal::notice(format_args!("cannot start {name}: {reason}; another attempt follows"));
                }
            }
        }
        Ok(changed)
    }

    /// Checks in the background when a process that was started again is ready.
    fn probe(&self, index: usize, probes: &mut JoinSet<Probe>) {
        let member = &self.processes.members[index];
        let Launch::Role(role) = &member.launch else { return };
        let (client, port) = (self.client.clone(), role.port);
        let (instance, pid) = (member.name().to_owned(), member.pid());
        probes.spawn(async move {
            let ready = readiness::ready(&client, port).await;
            Probe { instance, pid, ready }
        });
    }

    /// Reports that a role is ready again, unless its process has ended meanwhile.
    fn report_readiness(&self, probe: &Probe) {
        let members = &self.processes.members;
        let member =
            members.iter().find(|member| member.name() == probe.instance && member.pid() == probe.pid);
        let Some(member) = member else { return };
        let name = member.name();
        if probe.ready {
            report_recovery(name, member.ended_at);
        } else {
            let (timeout, log) = (START_TIMEOUT.as_secs(), member.process.last_lines(QUOTED_LOG_LINES));
            terminal::notice(format_args!(
                "{name} is not ready {timeout} s after its start; its last log lines:\n{log}"
            ));
        }
    }

    fn request_restart(&mut self, request: &RestartRequest) {
        let members = &mut self.processes.members;
        // A request for an earlier process is done already.
        let wanted = |member: &&mut Member| member.name() == request.instance && member.pid() == request.pid;
        if let Some(member) = members.iter_mut().find(wanted) {
            terminal::notice(format_args!("restarting {}, as requested", request.instance));
            member.request_restart(STOP_TIMEOUT);
        }
    }

    fn server_event(&mut self, event: &ServerEvent) -> Result<(), Error> {
        match (self.processes.server_ended(event), event) {
            (Some(error), _) if self.on_exit == OnExit::Stop => return Err(error),
            (Some(Error::Ended { status, .. }), ServerEvent::Ended { failures, delay_ms, .. }) => {
                let log = self.processes.server_log(QUOTED_LOG_LINES);
                let delay = Duration::from_millis(*delay_ms);
                report(DATABASE, &end_text(&status.to_string(), *failures), delay, &log);
            }
            (_, ServerEvent::Ready { .. }) => {
                let ended_at = self.processes.server.as_ref().and_then(|server| server.ended_at);
                if ended_at.is_some() {
                    report_recovery(DATABASE, ended_at);
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// Writes the file of the stack anew.
    fn publish(&self) {
        let file = self.addresses();
        if let Err(error) = file.write() {
            let (path, reason) = (file.file(), terminal::os_reason(&error));
            terminal::notice(format_args!("error: cannot write {}: {reason}", path.display()));
        }
    }
}

fn report_end(member: &Member, end: &End) {
    // The request was reported.
    if !end.requested {
        let log = member.process.last_lines(QUOTED_LOG_LINES);
        report(member.name(), &end_text(&end.status.to_string(), end.failures), end.delay, &log);
    }
}

/// Returns how a process ended.
fn end_text(status: &str, failures: u32) -> String {
    match failures {
        ..REPEATEDLY => format!("ended ({status})"),
        _ => format!("ended {failures} times in a row, each time soon after its start ({status})"),
    }
}

fn report(name: &str, ended: &str, delay: Duration, log: &str) {
    let delay = delay.as_secs_f64();
    terminal::notice(format_args!(
        "{name} {ended}; it is started again in {delay:.1} s; its last log lines:\n{log}"
    ));
}

fn report_recovery(name: &str, ended_at: Option<Instant>) {
    let seconds = ended_at.map_or(0.0, |ended| ended.elapsed().as_secs_f64());
    terminal::notice(format_args!("{name} is ready again, {seconds:.2} s after its end"));
}
