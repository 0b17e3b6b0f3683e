//! `workbench restart`: drains one role of a stack of `up` or `demo` and starts it again.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{anyhow, bail};
use clap::Args;
use system::role::Role;
use tokio::time::Instant;

use crate::stack::readiness;
use crate::stack::running::{self, RunningStack, StackProcess};
use crate::terminal;
use crate::usage::UsageError;

/// Maximum time from the request until the new process is ready: the old one may drain for 10 s.
const TIMEOUT: Duration = Duration::from_secs(60);
/// Interval between two looks at the stack's file.
const POLL_INTERVAL: Duration = Duration::from_millis(20);
/// Time between two processes of a role, in which their callers notice that the first one is ready again. The balancer probes
/// every 200 ms.
const BETWEEN_PROCESSES: Duration = Duration::from_millis(500);

/// The arguments of `workbench restart`.
#[derive(Debug, Args)]
pub(crate) struct Restart {
    /// Role, such as gateway, whose processes are restarted one after the other; or one instance, such as gateway_2
    #[arg(value_name = "ROLE|INSTANCE")]
    target: String,
    /// Folder of the stack, which `up` prints with the logs; that of the newest stack by default
    #[arg(long, value_name = "DIR")]
    stack: Option<PathBuf>,
}

/// Restarts the processes; returns when the last one is ready.
pub(crate) async fn restart(arguments: &Restart) -> anyhow::Result<ExitCode> {
    let mut stack =
        RunningStack::find(arguments.stack.as_deref()).map_err(|error| UsageError(error.into()))?;
    let processes = processes(&stack)?;
    let instances = instances(&arguments.target, &processes)?;
    let client = readiness::client()?;
    for (index, instance) in instances.iter().enumerate() {
        if index > 0 {
            tokio::time::sleep(BETWEEN_PROCESSES).await;
        }
        let started = Instant::now();
        let (before, after) = restart_one(&mut stack, instance, &client).await?;
        let (seconds, before) =
            (started.elapsed().as_secs_f64(), before.map_or("none".into(), |pid| pid.to_string()));
        // A closed stdout does not stop the restart of the next process.
        let line =
            format!("{instance} is ready again after {seconds:.1} s (process {before}, now {after})\n");
        if let Err(error) = terminal::print(&line) {
            let reason = terminal::os_reason(&error);
            terminal::notice(format_args!("error: cannot write to stdout: {reason}"));
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Restarts one process. Returns the process ids before and after.
async fn restart_one(
    stack: &mut RunningStack,
    instance: &str,
    client: &reqwest::Client,
) -> anyhow::Result<(Option<u32>, u32)> {
    let before = processes(stack)?.get(instance).and_then(|process| process.pid);
    stack.request_restart(instance, before).map_err(|error| UsageError(error.into()))?;
    let deadline = Instant::now() + TIMEOUT;
    loop {
        let processes = processes(stack)?;
        let process = processes.get(instance).ok_or_else(|| anyhow!("{instance} is gone"))?;
        if let StackProcess { pid: Some(pid), port: Some(port), .. } = process
            && Some(*pid) != before
            && readiness::is_ready(client, *port).await
        {
            return Ok((before, *pid));
        }
        if Instant::now() > deadline {
            let (timeout, log) = (TIMEOUT.as_secs(), process.log.display());
            bail!("{instance} is not ready {timeout} s after the request to restart it; see {log}");
        }
        tokio::time::sleep(POLL_INTERVAL).await;
    }
}

fn processes(stack: &RunningStack) -> Result<BTreeMap<String, StackProcess>, UsageError> {
    stack.processes().map_err(|error: running::Error| UsageError(error.into()))
}

/// Returns the instances that `target` names, in order.
fn instances(target: &str, processes: &BTreeMap<String, StackProcess>) -> Result<Vec<String>, UsageError> {
    let roles: Vec<(&String, Role)> =
        processes.iter().filter_map(|(name, it)| Some((name, role(it)?))).collect();
    let is_meant = |(name, role): &&(&String, Role)| {
        let service = role.service_name();
        // The first process of most roles has no number. An instance may be named after its role, too: gateway_2.
        let number = name.strip_prefix(service).filter(|number| !number.is_empty()).unwrap_or("_1");
        [role.command(), service].contains(&target)
            || [format!("{role}{number}"), format!("{service}{number}")].iter().any(|name| name == target)
    };
    let found: Vec<String> = roles.iter().filter(is_meant).map(|(name, _)| (*name).clone()).collect();
    if found.is_empty() {
        let known: Vec<&str> = roles.iter().map(|(name, _)| name.as_str()).collect();
        return Err(UsageError(anyhow!(
            "no role or instance '{target}' in this stack: expected a role, such as gateway, or one of {}",
            known.join(", ")
        )));
    }
    Ok(found)
}

/// Returns the role of a process; `None` for the database and its keeper.
fn role(process: &StackProcess) -> Option<Role> {
    Role::ALL.into_iter().find(|role| role.command() == process.role)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stack() -> BTreeMap<String, StackProcess> {
        let instances = [
            ("api_gateway_1", "gateway"),
            ("api_gateway_2", "gateway"),
            ("booking_service", "booking"),
            ("booking_service_2", "booking"),
            ("queue", "queue"),
            ("database", "database"),
            ("keeper", "keeper"),
        ];
        let process = |role: &str| StackProcess {
            pid: Some(1),
            role: role.into(),
            port: Some(1),
            log: PathBuf::new(),
            restarts: 0,
        };
        instances.into_iter().map(|(name, role)| (name.to_owned(), process(role))).collect()
    }

    #[test]
    fn a_target_is_a_role_or_an_instance() {
        for (target, expected) in [
            ("gateway", &["api_gateway_1", "api_gateway_2"][..]),
            ("api_gateway", &["api_gateway_1", "api_gateway_2"]),
            ("gateway_2", &["api_gateway_2"]),
            ("api_gateway_2", &["api_gateway_2"]),
            ("booking", &["booking_service", "booking_service_2"]),
            ("booking_service", &["booking_service", "booking_service_2"]),
            ("booking_2", &["booking_service_2"]),
            ("booking_1", &["booking_service"]),
            ("queue", &["queue"]),
        ] {
            assert_eq!(instances(target, &stack()).unwrap(), expected, "{target}");
        }
        for unknown in ["database", "keeper", "gateway_3", "kitchen", ""] {
            let error = instances(unknown, &stack()).unwrap_err().to_string();
            assert!(error.contains("booking_service_2, queue"), "{unknown}: {error}");
        }
    }
}
