//! `workbench up`: runs the whole system until Ctrl-C.

use std::process::ExitCode;
use std::time::Instant;

use clap::Args;
use tokio_util::sync::CancellationToken;

use super::stack_arguments::StackArgs;
use crate::stack::{Error, Options, PortChoice, Stack};
use crate::{stop, terminal};

/// The arguments of `workbench up`.
#[derive(Debug, Args)]
pub(crate) struct Up {
    #[command(flatten)]
    pub(crate) stack: StackArgs,
    /// Listen on free ports instead of the default ones
    #[arg(long, conflicts_with = "port_base")]
    pub(crate) free_ports: bool,
    /// OTLP/gRPC endpoint for the spans instead of the stack's own collector; empty turns the export off
    #[arg(long, value_name = "URL")]
    export_to: Option<String>,
    /// Print one JSON object instead of the table of addresses
    #[arg(long)]
    pub(crate) json: bool,
}

impl Up {
    pub(crate) fn options(&self) -> Options {
        let ports = if self.free_ports { PortChoice::Free } else { PortChoice::Default };
        Options { export_to: self.export_to.clone(), ..self.stack.options(ports) }
    }
}

/// Starts the system, prints its addresses, and runs until Ctrl-C or SIGTERM; with `--on-exit stop` also until one of its
/// processes ends.
pub(crate) async fn up(arguments: &Up) -> anyhow::Result<ExitCode> {
    let interrupted = stop::on_signal()?;
    let options = arguments.options();
    let start = Instant::now();
    let mut stack = tokio::select! {
        started = Stack::start(&options) => started?,
        () = interrupted.cancelled() => return Ok(ExitCode::SUCCESS),
    };
    let text = if arguments.json {
        stack.addresses().json()? + "\n"
    } else {
        let (seconds, addresses) = (start.elapsed().as_secs_f64(), stack.addresses());
        format!("ready after {seconds:.1} s\n\n{addresses}\n\nPress Ctrl-C to stop the system.\n")
    };
    // A closed or full stdout does not stop the system.
    if let Err(error) = terminal::print(&text) {
        let reason = terminal::os_reason(&error);
        terminal::notice(format_args!("error: cannot write the addresses to stdout: {reason}"));
    }
    let stayed = run_until_interrupted(&mut stack, &interrupted).await;
    stop(stack).await?;
    Ok(stayed.map(|()| ExitCode::SUCCESS)?)
}

/// Restarts processes that end, until the signal to stop. Fails if a process ends and the stack stops because of it.
pub(crate) async fn run_until_interrupted(
    stack: &mut Stack,
    interrupted: &CancellationToken,
) -> Result<(), Error> {
    tokio::select! {
        ended = stack.supervise() => Err(ended),
        () = interrupted.cancelled() => Ok(()),
    }
}

/// Stops the processes in order; another Ctrl-C, at least 2 s after the first one, kills them.
pub(crate) async fn stop(stack: Stack) -> anyhow::Result<()> {
    let interrupted_again = stop::on_next_signal()?;
    tokio::select! {
        stopped = stack.stop() => Ok(stopped?),
        () = interrupted_again.cancelled() => Ok(()),
    }
}
