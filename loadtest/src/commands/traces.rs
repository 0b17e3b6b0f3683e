//! `workbench traces`: kept traces between a running collector and files, in OTLP JSON or that of Jaeger's UI.

use std::process::ExitCode;

use clap::Subcommand;

use crate::transfer::{Export, Import, export, import};

/// The arguments of `workbench traces`.
#[derive(Debug, Subcommand)]
pub(crate) enum Transfer {
    /// Write the traces that a collector keeps into a file
    Export(Export),
    /// Send the traces of files to a collector, or to whatever else takes OTLP/HTTP
    Import(Import),
}

/// Moves them, and says on stderr how many they were.
pub(crate) async fn transfer(arguments: &Transfer) -> anyhow::Result<ExitCode> {
    match arguments {
        Transfer::Export(arguments) => export(arguments).await,
        Transfer::Import(arguments) => import(arguments).await,
    }
}
