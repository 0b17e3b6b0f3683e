//! `workbench serve ROLE`: one role, in this process. `serve collector --open RUN` shows the traces of a run instead.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::builder::BoolishValueParser;
use clap::{Args, Subcommand};
use collector::Listeners;
use system::role::Role;
use telemetry::arguments::bytes;
use telemetry::{Endpoint, LOG_FILE_MAX_BYTES, LogFilter};
use tokio_util::sync::CancellationToken;

use crate::bundle::collector_files;
use crate::stop;
use crate::usage::UsageError;

/// Maximum time that work in progress, such as a DNS look-up, may delay the end of the process.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(1);

/// The roles of `workbench serve`.
#[derive(Debug, Subcommand)]
pub(crate) enum Serve {
    #[command(flatten)]
    Role(system::serve::Settings),
    /// Receive spans over OTLP, keep traces, answer queries
    Collector(Collector),
}

/// The collector's settings as a process.
#[derive(Debug, Args)]
#[group(skip)]
pub(crate) struct Collector {
    #[command(flatten)]
    settings: collector::Settings,
    /// Show the traces of the run in this folder, and receive no spans
    #[arg(long, value_name = "RUN")]
    open: Option<PathBuf>,
    /// `service.instance.id` of the log lines
    #[arg(long, env = "SERVICE_INSTANCE_ID", value_name = "NAME", default_value = Role::Collector.service_name())]
    service_instance_id: String,
    /// Stop when standard input closes, so that a parent process that is killed leaves no child behind
    #[arg(long, env = "STOP_WITH_STDIN", value_parser = BoolishValueParser::new())]
    stop_with_stdin: bool,
    /// Filter of log lines, in the syntax of tracing-subscriber's EnvFilter
    #[arg(long, env = "RUST_LOG", value_name = "FILTER", default_value_t)]
    log_filter: LogFilter,
    /// Log file instead of stdout; the process must be the only one that writes it [default: none]
    #[arg(long, env = "LOG_FILE", value_name = "FILE")]
    log_file: Option<PathBuf>,
    /// Maximum size of the log file and its predecessor FILE.1 together, in bytes (at least 65536)
    #[arg(long, env = "LOG_FILE_MAX_BYTES", value_name = "BYTES", default_value_t = LOG_FILE_MAX_BYTES, value_parser = bytes::<u64>)]
    log_file_max_bytes: u64,
}

/// Serves until SIGTERM, SIGINT or, with `--stop-with-stdin`, the end of standard input.
pub(crate) fn serve(serve: Serve) -> anyhow::Result<ExitCode> {
    match serve {
        Serve::Role(settings) => serve_role(settings),
        Serve::Collector(settings) => serve_collector(&settings),
    }
}

fn serve_role(settings: system::serve::Settings) -> anyhow::Result<ExitCode> {
    let (name, process) = (settings.role().service_name(), settings.process().clone());
    // Dropped after the runtime has stopped, so that the spans of the last request are exported.
    let _telemetry = telemetry::init(name, &process.service_instance_id, &process.telemetry)?;
    until_stopped(process.stop_with_stdin, async |stop| {
        let listener = system::serve::listen("LISTEN", &process.listen).await?;
        Ok(system::serve::run(settings, listener, stop).await?)
    })
}

fn serve_collector(arguments: &Collector) -> anyhow::Result<ExitCode> {
    let Collector { settings, open: open_run, service_instance_id, stop_with_stdin, .. } = arguments;
    let open = |run: &PathBuf| collector_files::open(run, settings.store_max_bytes);
    let snapshot = open_run.as_ref().map(open).transpose().map_err(UsageError)?;
    // Without spans: the collector would trace its own export.
    let telemetry = telemetry::Settings {
        otlp_endpoint: Endpoint::Off,
        log_filter: arguments.log_filter.clone(),
        log_file: arguments.log_file.clone(),
        log_file_max_bytes: arguments.log_file_max_bytes,
        ..telemetry::Settings::default()
    };
    let _telemetry = telemetry::init(Role::Collector.service_name(), service_instance_id, &telemetry)?;
    until_stopped(*stop_with_stdin, async |stop| {
        let Some(snapshot) = snapshot else {
            return Ok(collector::run(Listeners::bind(settings).await?, settings, stop).await?);
        };
        let listener = system::serve::listen("LISTEN", &settings.listen).await?;
        tracing::info!(address = %listener.local_addr()?, traces = snapshot.traces(), "showing a run");
        Ok(snapshot.serve(listener, settings, stop).await?)
    })
}

/// Runs `serve` on a multi-threaded runtime. Its argument fires when the process should stop.
fn until_stopped(
    with_stdin: bool,
    serve: impl AsyncFnOnce(CancellationToken) -> anyhow::Result<()>,
) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let served = runtime.block_on(async {
        let stop = stop::on_signal()?;
        if with_stdin {
            stop::with_stdin(stop.clone())?;
        }
        serve(stop).await
    });
    runtime.shutdown_timeout(SHUTDOWN_TIMEOUT);
    served.map(|()| ExitCode::SUCCESS)
}
