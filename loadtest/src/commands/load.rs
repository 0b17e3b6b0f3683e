//! `workbench load`: loads a running system.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use crate::measure::descriptors;
use crate::run::{self, Endpoints, FinishedRun, RunOptions};
use crate::stop::{self, Interrupts};
use crate::usage::UsageError;
use crate::{report, terminal};

/// The arguments of `workbench load`.
#[derive(Clone, Debug, Args)]
pub(crate) struct Load {
    #[command(flatten)]
    pub(crate) options: RunOptions,
    #[command(flatten, next_help_heading = "Target")]
    pub(crate) endpoints: Endpoints,
}

/// Runs the load. The first Ctrl-C ends the load, a later one the waits for notifications and traces. Both report what ran.
pub(crate) fn load(arguments: &Load) -> anyhow::Result<ExitCode> {
    descriptors::raise_limit().map_err(|error| UsageError(error.into()))?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let finished = runtime.block_on(async {
        let interrupts = Interrupts::listen()?;
        run::run(&arguments.options, &arguments.endpoints, &interrupts).await
    })?;
    conclude(finished, arguments.options.json)
}

/// Prints the report, or `run.json`, whether or not the bundle was written. Returns exit status 0 if the run passed,
/// 130 if it was interrupted, otherwise 1.
pub(crate) fn conclude(finished: FinishedRun, json: bool) -> anyhow::Result<ExitCode> {
    let FinishedRun { mut bundle, saved } = finished;
    if saved.is_err() {
        // The report does not name a folder that was not written.
        bundle.folder = PathBuf::new();
    }
    let text = if json { bundle.json()? + "\n" } else { report::text(&bundle) };
    // A closed or full stdout does not change the result of the run.
    if let Err(error) = terminal::print(&text) {
        let reason = terminal::os_reason(&error);
        terminal::notice(format_args!("error: cannot write the report to stdout: {reason}"));
    }
    saved?;
    Ok(ExitCode::from(match bundle.run.passed {
        true => 0,
        false if bundle.run.interrupted => stop::INTERRUPTED,
        false => 1,
    }))
}
