//! `workbench`: one binary for every role of the system and for the load that tests it.

mod arrivals;
mod cli;
mod commands;
mod demo;
mod health;
mod journeys;
mod load;
mod measure;
mod oracle;
mod report;
mod run;
mod secrets;
mod seed;
mod stack;
mod stop;
mod transfer;
mod up;
mod usage;
mod validity;

use std::process::ExitCode;

use clap::Parser as _;

use cli::{Cli, Command};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Demo(arguments) => demo::demo(&arguments),
        Command::Up(arguments) => block_on(up::up(&arguments)),
        Command::Serve(arguments) => commands::serve::serve(&arguments),
        Command::Load(arguments) => load::load(&arguments),
        Command::Report(arguments) => load::report(&arguments),
        Command::Traces(arguments) => block_on(transfer::transfer(&arguments)),
        Command::Seed(arguments) => block_on(seed::command(&arguments)),
        Command::Health { address } => health::health(&address).map(|()| ExitCode::SUCCESS),
        Command::Secrets { folder } => secrets::write(&folder).map(|()| ExitCode::SUCCESS),
        Command::Keep(arguments) => {
            block_on(stack::keeper::keep(&arguments.folder, arguments.cluster().as_ref()))
        }
    };
    done.unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::from(if usage::is_usage(&error) { 2 } else { 1 })
    })
}

/// Runs a command that mostly waits: on this thread.
fn block_on(command: impl Future<Output = anyhow::Result<ExitCode>>) -> anyhow::Result<ExitCode> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(command)
}
