//! `workbench demo`: starts the system, loads it, prints where the time went, stops it.

use std::process::ExitCode;
use std::time::Instant;

use clap::Args;

use super::stack_arguments::StackArgs;
use super::{load, up};
use crate::measure::descriptors;
use crate::run::{self, Endpoints, RunOptions, TraceTrust};
use crate::stack::{Addresses, Options, PortChoice, Stack};
use crate::stop::{self, Interrupts};
use crate::terminal;
use crate::usage::UsageError;

/// The arguments of `workbench demo`.
#[derive(Debug, Args)]
pub(crate) struct Demo {
    #[command(flatten)]
    pub(crate) options: RunOptions,
    #[command(flatten, next_help_heading = "System")]
    pub(crate) stack: StackArgs,
    /// Keep the system running after the load, until Ctrl-C
    #[arg(long)]
    pub(crate) keep_up: bool,
}

impl Demo {
    pub(crate) fn options(&self) -> Options {
        self.stack.options(PortChoice::Free)
    }
}

/// Runs the demo. The first Ctrl-C ends the load, a later one the waits; both with a report.
pub(crate) fn demo(arguments: &Demo) -> anyhow::Result<ExitCode> {
    descriptors::raise_limit().map_err(|error| UsageError(error.into()))?;
    // Several threads, because the load generator runs in this process.
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(run(arguments))
}

async fn run(arguments: &Demo) -> anyhow::Result<ExitCode> {
    let interrupts = Interrupts::listen()?;
    let options = arguments.options();
    options.check()?;
    let start = Instant::now();
    let processes = options.scale.processes();
    terminal::notice(match options.database_url {
        None => format!("starting PostgreSQL and {processes} role processes"),
        Some(_) => format!("starting {processes} role processes"),
    });
    let mut stack = tokio::select! {
        started = Stack::start(&options) => started?,
        () = interrupts.stop.cancelled() => return Ok(ExitCode::from(stop::INTERRUPTED)),
    };
    let logs = stack.addresses().logs();
    terminal::notice(format_args!("ready after {:.1} s; logs: {logs}", start.elapsed().as_secs_f64()));
    let done = load_stack(arguments, &mut stack, &interrupts).await;
    let stopped = up::stop(stack).await;
    let code = done?;
    stopped.map(|()| code)
}

async fn load_stack(
    arguments: &Demo,
    stack: &mut Stack,
    interrupts: &Interrupts,
) -> anyhow::Result<ExitCode> {
    let endpoints = endpoints(arguments, stack.addresses());
    let finished = tokio::select! {
        finished = run::run(&arguments.options, &endpoints, interrupts) => finished?,
        ended = stack.supervise() => return Err(ended.into()),
    };
    let concluded = load::conclude(finished, arguments.options.json);
    report_restarts(&stack.addresses());
    if arguments.keep_up {
        terminal::notice(format_args!("\n{}\n\nPress Ctrl-C to stop the system.", stack.addresses()));
        up::run_until_interrupted(stack, &interrupts.stop).await?;
    }
    concluded
}

/// Says which processes were restarted during the load, as the figures of the report depend on it.
fn report_restarts(addresses: &Addresses) {
    let restarted = addresses.processes.iter().filter(|(_, process)| process.restarts > 0);
    let restarts: Vec<String> =
        restarted.map(|(name, process)| format!("{name} {}", process.restarts)).collect();
    if !restarts.is_empty() {
        terminal::notice(format_args!("restarts during the load: {}", restarts.join(", ")));
    }
}

fn endpoints(arguments: &Demo, addresses: Addresses) -> Endpoints {
    let data = arguments.stack.data;
    Endpoints {
        target: addresses.balancer,
        collector: addresses.collector,
        otlp: addresses.otlp_grpc,
        tutors: data.tutors,
        students: data.students,
        trust: TraceTrust::default(),
    }
}
