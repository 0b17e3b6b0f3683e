//! `workbench serve ROLE`: one role, in this process. `serve collector --open RUN` shows a run's traces instead.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use observability::collector::{Hosting, Opened};
use observability::telemetry;
use system::config::Config;
use system::service::{self, Service};
use tokio::net::TcpListener;

use crate::cli::Serve;
use crate::misuse::Misuse;
use crate::run::kept;
use crate::stop;

/// What may still run after the role has stopped (a DNS look-up, a blocking call) does not hold the process up.
const LEFT_OVERS: Duration = Duration::from_secs(1);

/// Serves until SIGTERM, SIGINT or, if the environment says so, the end of stdin.
pub(crate) fn serve(arguments: &Serve) -> anyhow::Result<ExitCode> {
    let service = arguments.role;
    let mut config = Config::from_env(service)?;
    config.collector.hosting =
        Hosting { jaeger_ui: arguments.jaeger_ui.clone(), base_path: arguments.base_path.clone() };
    let opened = match &arguments.open {
        Some(_) if service != Service::Collector => {
            return Err(Misuse(anyhow!("only the collector opens a run: serve collector --open RUN")).into());
        }
        Some(run) => Some(kept::open(run).map_err(Misuse)?),
        None => None,
    };
    // Lives longer than the runtime, so that the spans of the last request are flushed too.
    let _telemetry = telemetry::init(config.telemetry(service))?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let served = runtime.block_on(run(service, config, opened));
    runtime.shutdown_timeout(LEFT_OVERS);
    served.map(|()| ExitCode::SUCCESS)
}

async fn run(service: Service, config: Config, opened: Option<Opened>) -> anyhow::Result<()> {
    let stop = stop::on_signal()?;
    if config.stop_with_stdin {
        stop::with_stdin(stop.clone())?;
    }
    let listener =
        TcpListener::bind(&config.listen).await.with_context(|| format!("listening on {}", config.listen))?;
    match opened {
        Some(opened) => {
            tracing::info!(address = %listener.local_addr()?, traces = opened.traces(), "showing a run");
            Ok(opened.serve(listener, &config.collector.hosting, stop).await.map_err(service::Error::from)?)
        }
        None => Ok(service::run(service, listener, config, stop).await?),
    }
}
