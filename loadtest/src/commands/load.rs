//! `workbench load`: loads a running system.

use std::process::ExitCode;

use anyhow::anyhow;
use clap::Args;

use crate::bundle::Bundle;
use crate::run::{self, Endpoints, RunOptions};
use crate::{report, stop};

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
    print(&finished, arguments.options.json)?;
    Ok(exit_code(&finished))
}

/// Prints the report, or `run.json`.
pub(crate) fn print(bundle: &Bundle, json: bool) -> anyhow::Result<()> {
    if json {
        println!("{}", bundle.json()?);
    } else {
        print!("{}", report::text(bundle));
        println!("\nbundle: {}", bundle.folder.display());
    }
    Ok(())
}

/// Returns exit status 0 if the run passed, otherwise 1.
pub(crate) fn exit_code(bundle: &Bundle) -> ExitCode {
    ExitCode::from(if bundle.run.passed { 0 } else { 1 })
}
