//! `workbench traces`: exports and imports traces.

use std::process::ExitCode;

use clap::Subcommand;

use crate::transfer::{Export, Import, export, import};

/// The arguments of `workbench traces`.
#[derive(Debug, Subcommand)]
pub(crate) enum Transfer {
    /// Write the traces of a collector to a file
    Export(Export),
    /// Send the traces of files to a collector or another OTLP/HTTP receiver
    Import(Import),
}

/// Runs the export or import. Reports the number of traces on stderr.
pub(crate) async fn transfer(arguments: &Transfer) -> anyhow::Result<ExitCode> {
    match arguments {
        Transfer::Export(arguments) => export(arguments).await,
        Transfer::Import(arguments) => import(arguments).await,
    }
}
