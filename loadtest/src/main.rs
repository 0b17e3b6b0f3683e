//! `workbench`: the command line for the roles of the system and for the load generator.
//!
//! The modules are listed from the lowest layer to the highest. Each module uses only modules above it in the list:
//!
//! - `http_client`, `terminal`: requests of the workbench; text on stdout and stderr
//! - `usage`, `stop`: usage errors; signals
//! - `bounded_input`: files whose content is not trusted
//! - `stack`: every role as its own process, and PostgreSQL
//! - `plan`: due time and content of each request
//! - `measure`: samples, histograms, validity of the figures
//! - `drive`: goose sends the planned requests; the oracle verifies the replies
//! - `collector_client`: the collector's API
//! - `bundle`: `run.json` and the other files of a run
//! - `analysis`: objectives, hops, where the time went
//! - `report`: text and HTML
//! - `transfer`: traces to and from files
//! - `run`: the steps of a load run
//! - `commands`: one file for each subcommand

#![deny(clippy::print_stdout, clippy::print_stderr, reason = "they panic: use crate::terminal")]

mod http_client;
mod terminal;
mod usage;
mod stop;
mod bounded_input;
mod stack;
mod plan;
mod measure;
mod drive;
mod collector_client;
mod bundle;
mod analysis;
mod report;
mod transfer;
mod run;
mod commands;

use std::io::ErrorKind;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{CommandFactory as _, FromArgMatches as _, Parser, Subcommand};
use telemetry::arguments::{ignore_empty_variables, with_variable};

use commands::demo::{self, Demo};
use commands::keep::{self, Keep};
use commands::load::{self, Load};
use commands::report::Report;
use commands::restart::{self, Restart};
use commands::seed::{self, Seed};
use commands::serve::{self, Serve};
use commands::traces::{self, Transfer};
use commands::up::{self, Up};
use commands::{health, secrets};
use usage::UsageError;

/// Starts the tutoring system, loads it, verifies every reply, and reports where the time went.
#[derive(Debug, Parser)]
#[command(name = "workbench", version)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Start the system, load it, print where the time went, and stop it
    Demo(Demo),
    /// Start the system and keep it running until Ctrl-C
    Up(Up),
    /// Restart a role of a running system: drain it, start it again, wait until it is ready
    Restart(Restart),
    /// Run one role in this process; `serve ROLE --help` lists its settings
    #[command(subcommand)]
    Serve(Serve),
    /// Load a running system and verify every reply
    Load(Load),
    /// Print the report of an earlier run
    Report(Report),
    /// Export traces of a running collector to a file, or import files
    #[command(subcommand)]
    Traces(Transfer),
    /// Write tutors and students to a database
    Seed(Seed),
    /// Write the random secrets that the roles share to a folder; keep existing ones
    Secrets {
        /// Folder of the token secret and PostgreSQL's password file
        folder: PathBuf,
    },
    /// Exit with 0 if a role is ready
    Health {
        /// Address of the role
        #[arg(value_name = "HOST:PORT", env = "LISTEN")]
        address: String,
    },
    /// Keep a stack's folder and its database until stdin ends
    #[command(hide = true)]
    Keep(Keep),
}

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Variables whose empty value turns the export of spans off. An empty value of any other counts as unset.
const EMPTY_HAS_A_MEANING: [&str; 2] = ["OTEL_EXPORTER_OTLP_ENDPOINT", "WORKBENCH_OTLP"];

fn main() -> ExitCode {
    let mut command = ignore_empty_variables(Cli::command(), &EMPTY_HAS_A_MEANING);
    let matches = command.try_get_matches_from_mut(std::env::args_os());
    let cli = matches.and_then(|matches| Cli::from_arg_matches(&matches));
    let cli = match cli {
        Ok(cli) => cli,
        Err(error) => return print_help_or_error(&with_variable(error, &command)),
    };
    let done = match cli.command {
        Command::Demo(arguments) => demo::demo(&arguments),
        Command::Up(arguments) => block_on(up::up(&arguments)),
        Command::Restart(arguments) => block_on(restart::restart(&arguments)),
        Command::Serve(arguments) => serve::serve(arguments),
        Command::Load(arguments) => load::load(&arguments),
        Command::Report(arguments) => commands::report::report(&arguments),
        Command::Traces(arguments) => block_on(traces::transfer(&arguments)),
        Command::Seed(arguments) => block_on(seed::command(&arguments)),
        Command::Health { address } => health::health(&address).map(|()| ExitCode::SUCCESS),
        Command::Secrets { folder } => secrets::write(&folder).map(|()| ExitCode::SUCCESS),
        Command::Keep(arguments) => block_on(keep::keep(&arguments)),
    };
    done.unwrap_or_else(|error| {
        terminal::notice(format_args!("error: {}", terminal::describe(&error)));
        ExitCode::from(match error.is::<stop::Interrupted>() {
            true => stop::INTERRUPTED,
            false if is_usage(&error) => 2,
            false => 1,
        })
    })
}

/// Prints a help text or an error of clap. Returns the exit status.
fn print_help_or_error(error: &clap::Error) -> ExitCode {
    match error.print() {
        Err(failed) if !error.use_stderr() && failed.kind() != ErrorKind::BrokenPipe => {
            let reason = terminal::os_reason(&failed);
            terminal::notice(format_args!("error: cannot write to stdout: {reason}"));
            ExitCode::FAILURE
        }
        _ => ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2)),
    }
}

/// Runs a command that mostly waits on a single-threaded runtime.
fn block_on(command: impl Future<Output = anyhow::Result<ExitCode>>) -> anyhow::Result<ExitCode> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(command)
}

/// Returns whether `error` is a usage or configuration error.
fn is_usage(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        cause.is::<UsageError>()
            || cause.downcast_ref().is_some_and(system::app::Error::is_usage)
            || cause.downcast_ref().is_some_and(collector::Error::is_usage)
            || cause.downcast_ref().is_some_and(stack::Error::is_usage)
            || matches!(cause.downcast_ref(), Some(telemetry::Error::LogFile { .. }))
    })
}
