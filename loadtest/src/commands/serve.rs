//! `workbench serve ROLE`: one role, in this process. `serve collector --open RUN` shows a run's traces instead.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::ensure;
use clap::Args;
use collector::{Hosting, Opened};
use system::config::Config;
use system::service::{self, Service};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::run::kept;
use crate::stop;
use crate::usage::UsageError;

/// What may still run after the role has stopped (a DNS look-up, a blocking call) does not hold the process up.
const LEFT_OVERS: Duration = Duration::from_secs(1);

/// The arguments of `workbench serve`.
#[derive(Debug, Args)]
pub(crate) struct Serve {
    /// Which one
    pub(crate) role: Service,
    /// Collector: host the Jaeger UI in this folder, the unpacked assets.tar.gz of one of jaeger-ui's releases [env: JAEGER_UI]
    #[arg(long, value_name = "DIR")]
    pub(crate) jaeger_ui: Option<PathBuf>,
    /// Collector: what a browser sees is below this path, such as /jaeger [env: BASE_PATH]
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
    let mut config = Config::from_env(service)?;
    let hosting = &mut config.collector.hosting;
    hosting.jaeger_ui = arguments.jaeger_ui.clone().or(hosting.jaeger_ui.take());
    hosting.base_path = arguments.base_path.clone().or(hosting.base_path.take());
    let opened = arguments.open.as_deref().map(kept::open).transpose().map_err(UsageError)?;
    // Lives longer than the runtime, so that the spans of the last request are flushed too.
    let _telemetry = telemetry::init(service.name(), &config.instance, &config.telemetry(service))?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let served = runtime.block_on(run(service, config, opened));
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

async fn run(service: Service, config: Config, opened: Option<Opened>) -> anyhow::Result<()> {
    let stop = stop::on_signal()?;
    if config.stop_with_stdin {
        stop::with_stdin(stop.clone())?;
    }
    let listener = service::listen("LISTEN", &config.listen).await?;
    match opened {
        Some(opened) => {
            tracing::info!(address = %listener.local_addr()?, traces = opened.traces(), "showing a run");
            Ok(opened.serve(listener, &hosting(&config), stop).await?)
        }
        None if service == Service::Collector => collect(listener, &config, stop).await,
        None => Ok(service::run(service, listener, config, stop).await?),
    }
}

async fn collect(query: TcpListener, config: &Config, stop: CancellationToken) -> anyhow::Result<()> {
    let settings = collector::Settings {
        grpc: service::listen("OTLP_GRPC_LISTEN", &config.collector.grpc_listen).await?,
        http: service::listen("OTLP_HTTP_LISTEN", &config.collector.http_listen).await?,
        query,
        store_max_bytes: config.collector.store_max_bytes,
        forward: config.collector.forward.clone(),
        hosting: hosting(config),
    };
    Ok(collector::run(settings, stop).await?)
}

fn hosting(config: &Config) -> Hosting {
    let system::config::Hosting { jaeger_ui, base_path } = config.collector.hosting.clone();
    Hosting { jaeger_ui, base_path }
}
