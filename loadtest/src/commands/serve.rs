//! `workbench serve ROLE`: one role, in this process. `serve collector --open RUN` shows a run's traces instead.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::ensure;
use clap::{Args, CommandFactory as _, FromArgMatches as _, Parser};
use collector::{Listeners, Snapshot};
use system::config::Config;
use system::service::{self, Service};
use telemetry::arguments::ignore_empty_variables;

use crate::bundle::collector_files;
use crate::stop;
use crate::usage::UsageError;

/// What may still run after the role has stopped (a DNS look-up, a blocking call) does not hold the process up.
const LEFT_OVERS: Duration = Duration::from_secs(1);

/// The arguments of `workbench serve`.
#[derive(Debug, Args)]
pub(crate) struct Serve {
    /// Which one
    pub(crate) role: Service,
    /// Collector: host the Jaeger UI in this folder, the unpacked assets.tar.gz of one of jaeger-ui's releases [env: COLLECTOR_JAEGER_UI]
    #[arg(long, value_name = "DIR")]
    pub(crate) jaeger_ui: Option<PathBuf>,
    /// Collector: what a browser sees is below this path, such as /jaeger [env: COLLECTOR_BASE_PATH]
    #[arg(long, value_name = "PATH")]
    pub(crate) base_path: Option<String>,
    /// Collector: show what it had at the end of this run, and take no spans
    #[arg(long, value_name = "RUN")]
    pub(crate) open: Option<PathBuf>,
}

/// Serves until SIGTERM, SIGINT or, if the environment says so, the end of stdin.
pub(crate) fn serve(arguments: &Serve) -> anyhow::Result<ExitCode> {
    let service = arguments.role;
    check(arguments).map_err(UsageError)?;
    let config = Config::from_env(service)?;
    let collector = (service == Service::Collector).then(|| CollectorSettings::parse(arguments));
    let opened = arguments.open.as_deref().map(collector_files::open).transpose().map_err(UsageError)?;
    // Lives longer than the runtime, so that the spans of the last request are flushed too.
    let _telemetry = telemetry::init(service.name(), &config.instance, &config.telemetry(service))?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let served = runtime.block_on(run(service, config, collector, opened));
    runtime.shutdown_timeout(LEFT_OVERS);
    served.map(|()| ExitCode::SUCCESS)
}

/// Nobody is left to believe that a flag did something.
fn check(arguments: &Serve) -> anyhow::Result<()> {
    let is_collector = arguments.role == Service::Collector;
    ensure!(
        is_collector || arguments.open.is_none(),
        "only the collector opens a run: serve collector --open RUN"
    );
    for (flag, is_given) in
        [("--jaeger-ui", arguments.jaeger_ui.is_some()), ("--base-path", arguments.base_path.is_some())]
    {
        ensure!(is_collector || !is_given, "only the collector has a {flag}: serve collector {flag}");
    }
    Ok(())
}

async fn run(
    service: Service,
    config: Config,
    collector: Option<collector::Settings>,
    opened: Option<Snapshot>,
) -> anyhow::Result<()> {
    let stop = stop::on_signal()?;
    if config.stop_with_stdin {
        stop::with_stdin(stop.clone())?;
    }
    let Some(settings) = collector else {
        let listener = service::listen("LISTEN", &config.listen).await?;
        return Ok(service::run(service, listener, config, stop).await?);
    };
    match opened {
        Some(snapshot) => {
            let listener = service::listen("LISTEN", &settings.listen).await?;
            tracing::info!(address = %listener.local_addr()?, traces = snapshot.traces(), "showing a run");
            Ok(snapshot.serve(listener, &settings, stop).await?)
        }
        None => Ok(collector::run(Listeners::bind(&settings).await?, &settings, stop).await?),
    }
}

/// The collector's settings, from its variables and from the flags of `serve`.
#[derive(Debug, Parser)]
struct CollectorSettings {
    #[command(flatten)]
    settings: collector::Settings,
}

impl CollectorSettings {
    fn parse(arguments: &Serve) -> collector::Settings {
        let command = ignore_empty_variables(Self::command(), &[]);
        let mut line = vec!["collector".into()];
        if let Some(folder) = &arguments.jaeger_ui {
            line.extend(["--jaeger-ui".into(), folder.clone().into_os_string()]);
        }
        if let Some(path) = &arguments.base_path {
            line.extend(["--base-path".into(), path.into()]);
        }
        let parsed = Self::from_arg_matches(&command.get_matches_from(line));
        parsed.unwrap_or_else(|error| error.exit()).settings
    }
}
