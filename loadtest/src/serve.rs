//! `workbench serve ROLE`: one role, in this process.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use observability::telemetry;
use system::config::Config;
use system::service::{self, Service};
use tokio::net::TcpListener;

use crate::stop;

/// What may still run after the role has stopped (a DNS look-up, a blocking call) does not hold the process up.
const LEFT_OVERS: Duration = Duration::from_secs(1);

/// Serves until SIGTERM, SIGINT or, if the environment says so, the end of stdin.
pub(crate) fn serve(service: Service) -> anyhow::Result<ExitCode> {
    let config = Config::from_env(service)?;
    // Lives longer than the runtime, so that the spans of the last request are flushed too.
    let _telemetry = telemetry::init(config.telemetry(service))?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let served = runtime.block_on(run(service, config));
    runtime.shutdown_timeout(LEFT_OVERS);
    served.map(|()| ExitCode::SUCCESS)
}

async fn run(service: Service, config: Config) -> anyhow::Result<()> {
    let stop = stop::on_signal()?;
    if config.stop_with_stdin {
        stop::with_stdin(stop.clone())?;
    }
    let listener =
        TcpListener::bind(&config.listen).await.with_context(|| format!("listening on {}", config.listen))?;
    Ok(service::run(service, listener, config, stop).await?)
}
