//! `workbench report`: prints the report of an earlier run.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Args;

use crate::bundle::Bundle;
use crate::report;
use crate::usage::UsageError;

/// The arguments of `workbench report`.
#[derive(Clone, Debug, Args)]
pub(crate) struct Report {
    /// Folder of the run
    run: PathBuf,
    /// Print run.json
    #[arg(long, conflicts_with = "html")]
    json: bool,
    /// Print the HTML report
    #[arg(long)]
    html: bool,
}

/// Prints the report as text, JSON or HTML.
pub(crate) fn report(arguments: &Report) -> anyhow::Result<ExitCode> {
    let bundle = Bundle::read(&arguments.run).map_err(UsageError)?;
    if arguments.json {
        println!("{}", bundle.json()?);
    } else if arguments.html {
        let file = bundle.folder.join("report.html");
        print!(
            "{}",
            std::fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?
        );
    } else {
        print!("{}", report::text(&bundle));
    }
    Ok(ExitCode::SUCCESS)
}
