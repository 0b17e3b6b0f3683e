//! `workbench traces`: kept traces between a running collector and files, in OTLP JSON or that of Jaeger's UI.

mod batch;
mod document;
mod export;
mod import;
mod input;
mod lines;
mod output;
mod patience;
mod progress;
mod send;

use std::process::ExitCode;

use clap::{Subcommand, ValueEnum};
use collector::trace::TraceId;

/// The arguments of `workbench traces`.
#[derive(Debug, Subcommand)]
pub(crate) enum Transfer {
    /// Write the traces that a collector keeps into a file
    Export(Export),
    /// Send the traces of files to a collector, or to whatever else takes OTLP/HTTP
    Import(Import),
}

#[derive(Debug, clap::Args)]
pub(crate) struct Export {
    /// The collector's query API
    #[arg(long, value_name = "URL", env = "WORKBENCH_COLLECTOR", default_value = "http://127.0.0.1:16686")]
    collector: String,
    /// Only this trace; may be repeated
    #[arg(long = "trace", value_name = "ID")]
    traces: Vec<TraceId>,
    /// What to write
    #[arg(long, value_enum, default_value = "otlp")]
    format: Format,
    /// Where to write it, packed with zstd if its name ends in .zst; - is stdout
    #[arg(default_value = "-")]
    file: String,
}

#[derive(Clone, Copy, Debug, PartialEq, ValueEnum)]
enum Format {
    /// A line of OTLP JSON for each trace, as the OpenTelemetry collector's file exporter writes
    Otlp,
    /// One document, as Jaeger's UI saves and takes it
    Jaeger,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Import {
    /// Where OTLP/HTTP is taken
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:4318")]
    otlp: String,
    /// OTLP JSON or that of Jaeger's UI, plain or packed with zstd or gzip; - is stdin
    #[arg(value_name = "FILE", required = true)]
    files: Vec<String>,
}

/// Moves them, and says on stderr how many they were.
pub(crate) async fn transfer(arguments: &Transfer) -> anyhow::Result<ExitCode> {
    match arguments {
        Transfer::Export(arguments) => export::export(arguments).await,
        Transfer::Import(arguments) => import::import(arguments).await,
    }
}
