//! `workbench report`: prints the report of an earlier run.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Args;

use crate::bundle::Bundle;
use crate::usage::UsageError;
use crate::{report, terminal};

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
    let printed = if arguments.json {
        terminal::print(&(bundle.json()? + "\n"))
    } else if arguments.html {
        let file = bundle.folder.join("report.html");
        let html = std::fs::File::open(&file).with_context(|| format!("cannot read {}", file.display()));
        terminal::print_from(html.map_err(UsageError)?)
    } else {
        terminal::print(&report::text(&bundle))
    };
    printed.context("cannot write to stdout")?;
    Ok(ExitCode::SUCCESS)
}
