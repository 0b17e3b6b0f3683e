//! `workbench load`: loads a running system.

use std::process::ExitCode;

use anyhow::anyhow;
use clap::Args;

use crate::run::{self, Endpoints, FinishedRun, RunOptions};
use crate::{report, stop, terminal};

/// The arguments of `workbench load`.
#[derive(Clone, Debug, Args)]
pub(crate) struct Load {
    #[command(flatten)]
    pub(crate) options: RunOptions,
    #[command(flatten, next_help_heading = "Target")]
    pub(crate) endpoints: Endpoints,
}

/// Runs the load. The first Ctrl-C ends the run early, with a report; the second one aborts it.
pub(crate) fn load(arguments: &Load) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let finished = runtime.block_on(async {
        let stop = stop::on_signal()?;
        tokio::select! {
            finished = run::run(&arguments.options, &arguments.endpoints, &stop) => finished,
            again = stop::again(&stop) => Err(again.map_or_else(Into::into, |()| anyhow!("interrupted twice: no bundle was written"))),
        }
    })?;
    conclude(finished, arguments.options.json)
}

/// Prints the report, or `run.json`, whether or not the bundle was written. Returns exit status 0 if the run passed,
/// otherwise 1.
pub(crate) fn conclude(finished: FinishedRun, json: bool) -> anyhow::Result<ExitCode> {
    let FinishedRun { bundle, saved } = finished;
    let text = if json {
        bundle.json()? + "\n"
    } else {
        let folder = match &saved {
            Ok(()) => format!("\nbundle: {}\n", terminal::escaped(&bundle.folder.to_string_lossy())),
            Err(_) => String::new(),
        };
        report::text(&bundle) + &folder
    };
    // The result of the run does not depend on who reads the report.
    if let Err(error) = terminal::print(&text) {
        let reason = terminal::os_reason(&error);
        terminal::notice(format_args!("error: cannot write the report to stdout: {reason}"));
    }
    saved?;
    Ok(ExitCode::from(if bundle.run.passed { 0 } else { 1 }))
}
