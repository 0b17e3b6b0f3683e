//! Frontend: a browser loads its page, which then calls the balancer.

use clap::Args;
use tokio_util::sync::CancellationToken;

use crate::app::{self, App, Error};
use crate::middleware;
use crate::role::Role;

/// Settings of the frontend.
#[derive(Debug, Clone, Args)]
#[group(skip)]
#[command(mut_args(app::Settings::defaults(Role::Frontend)))]
pub struct Settings {
    /// Public port of the balancer, which the page calls on its own host
    #[arg(long, env = "API_PORT", value_name = "PORT", default_value_t = Role::Balancer.port(), value_parser = clap::value_parser!(u16).range(1..))]
    api_port: u16,
    /// Process.
    #[command(flatten)]
    pub(crate) process: app::Settings,
}

/// Builds the frontend.
pub(crate) async fn app(settings: &Settings, _shutdown: CancellationToken) -> Result<App, Error> {
    let routes = ::frontend::app_router(settings.api_port);
    // The page needs no trace of a caller.
    Ok(App::new(middleware::public_requests(routes, settings.process.request_timeout, |_| false)))
}
