//! Transfers traces between a running collector and files, as OTLP JSON or Jaeger UI JSON.

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
use system::role::Role;

use crate::http_client::server_url;

pub(crate) use export::export;
pub(crate) use import::import;

#[derive(Debug, clap::Args)]
pub(crate) struct Export {
    /// URL of the collector's query API
    #[arg(long, value_name = "URL", env = "WORKBENCH_COLLECTOR", default_value = Role::Collector.url(), value_parser = server_url)]
    collector: String,
    /// Export only this trace; may be repeated
    #[arg(long = "trace", value_name = "ID")]
    traces: Vec<TraceId>,
    /// Format of the file
    #[arg(long, value_enum, default_value = "otlp-jsonl")]
    format: Format,
    /// Output file, compressed with zstd if the name ends in .zst; - is stdout
    #[arg(default_value = "-")]
    file: String,
}

#[derive(Clone, Copy, Debug, PartialEq, ValueEnum)]
enum Format {
    /// One line of OTLP JSON for each trace, as written by the OpenTelemetry collector's file exporter
    #[value(alias = "otlp")]
    OtlpJsonl,
    /// One document of OTLP JSON
    OtlpJson,
    /// One document, as saved and loaded by Jaeger's UI
    Jaeger,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Import {
    /// URL of the OTLP/HTTP receiver
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:4318", value_parser = server_url)]
    otlp: String,
    /// Maximum size of a file after decompression
    #[arg(long, value_name = "BYTES", default_value_t = 4 << 30)]
    max_unpacked: u64,
    /// Files of OTLP JSON or Jaeger UI JSON, plain or compressed with zstd or gzip; - is stdin
    #[arg(value_name = "FILE", required = true)]
    files: Vec<String>,
}
