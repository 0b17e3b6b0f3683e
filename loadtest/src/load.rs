//! `workbench load` and `workbench report`.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, anyhow};
use clap::Args;

use crate::run::{self, Bundle, Endpoints, Shape};
use crate::usage::UsageError;
use crate::{report, stop};

/// The arguments of `workbench load`.
#[derive(Clone, Debug, Args)]
pub(crate) struct Load {
    #[command(flatten)]
    pub(crate) shape: Shape,
    #[command(flatten)]
    pub(crate) endpoints: Endpoints,
}

/// The arguments of `workbench report`.
#[derive(Clone, Debug, Args)]
pub(crate) struct Report {
    /// The run's folder
    run: PathBuf,
    /// Print run.json
    #[arg(long, conflicts_with = "html")]
    json: bool,
    /// Print the HTML report
    #[arg(long)]
    html: bool,
}

/// Loads a system that runs already. Ctrl-C ends the run early and is reported as such; another one gives it up.
pub(crate) fn load(arguments: &Load) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let finished = runtime.block_on(async {
        let stop = stop::on_signal()?;
        tokio::select! {
            finished = run::execute(&arguments.shape, &arguments.endpoints, &stop) => finished,
            again = stop::again(&stop) => Err(again.map_or_else(Into::into, |()| anyhow!("stopped at once; no bundle was written"))),
        }
    })?;
    finished.print(arguments.shape.json)?;
    Ok(finished.exit_code())
}

/// Prints what a bundle says.
pub(crate) fn report(arguments: &Report) -> anyhow::Result<ExitCode> {
    let bundle = Bundle::read(&arguments.run).map_err(UsageError)?;
    if arguments.json {
        println!("{}", bundle.json()?);
    } else if arguments.html {
        let file = bundle.folder.join("report.html");
        print!("{}", std::fs::read_to_string(&file).with_context(|| format!("no {}", file.display()))?);
    } else {
        print!("{}", report::text(&bundle));
    }
    Ok(ExitCode::SUCCESS)
}
