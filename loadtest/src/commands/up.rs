//! `workbench up`: the whole system, until Ctrl-C.

use std::io::Write as _;
use std::process::ExitCode;
use std::time::Instant;

use clap::Args;
use tokio_util::sync::CancellationToken;

use super::stack_arguments::StackArgs;
use crate::stack::{Error, Options, PortChoice, Stack};
use crate::stop;

/// The arguments of `workbench up`.
#[derive(Debug, Args)]
pub(crate) struct Up {
    #[command(flatten)]
    pub(crate) stack: StackArgs,
    /// Listen on free ports instead of the usual ones
    #[arg(long, conflicts_with = "port_base")]
    pub(crate) free_ports: bool,
    /// Send spans to this OTLP/gRPC endpoint, not to the stack's own collector; empty turns the export off
    #[arg(long, value_name = "URL")]
    export_to: Option<String>,
    /// Print one JSON object instead of the table when all is ready
    #[arg(long)]
    pub(crate) json: bool,
}

impl Up {
    pub(crate) fn options(&self) -> Options {
        let ports = if self.free_ports { PortChoice::Free } else { PortChoice::Table };
        Options { export_to: self.export_to.clone(), ..self.stack.options(ports) }
    }
}

/// Starts everything, prints where it is, and stays until Ctrl-C, SIGTERM or the end of one of its processes.
pub(crate) async fn up(arguments: &Up) -> anyhow::Result<ExitCode> {
    let interrupted = stop::on_signal()?;
    let options = arguments.options();
    let start = Instant::now();
    let mut stack = tokio::select! {
        started = Stack::start(&options) => started?,
        () = interrupted.cancelled() => return Ok(ExitCode::SUCCESS),
    };
    if arguments.json {
        println!("{}", serde_json::to_string(&stack.addresses())?);
    } else {
        println!("ready after {:.1} s\n\n{}\n", start.elapsed().as_secs_f64(), stack.addresses());
        println!("Ctrl-C stops all of it.");
    }
    std::io::stdout().flush()?;
    let stayed = stay(&mut stack, &interrupted).await;
    stop(stack).await?;
    Ok(stayed.map(|()| ExitCode::SUCCESS)?)
}

/// Returns when told to stop, or with what ended before.
pub(crate) async fn stay(stack: &mut Stack, interrupted: &CancellationToken) -> Result<(), Error> {
    tokio::select! {
        ended = stack.ended() => Err(ended),
        () = interrupted.cancelled() => Ok(()),
    }
}

/// Stops everything in order; another Ctrl-C meanwhile stops it at once.
pub(crate) async fn stop(stack: Stack) -> anyhow::Result<()> {
    let impatient = stop::on_signal()?;
    tokio::select! {
        stopped = stack.stop() => Ok(stopped?),
        () = impatient.cancelled() => Ok(()),
    }
}
