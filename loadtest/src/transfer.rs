//! `workbench traces`: kept traces between a running collector and files, in OTLP JSON or that of Jaeger's UI.

mod request;
mod document;
mod export;
mod import;
mod input;
mod lines;
mod output;
mod progress;
mod retry;
mod send;

use clap::ValueEnum;
use collector::trace::TraceId;

pub(crate) use export::export;
pub(crate) use import::import;

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
