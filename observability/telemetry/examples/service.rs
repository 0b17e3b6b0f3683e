//! A service whose requests are traced, logged and counted.
//!
//! Run it beside a collector (`workbench serve collector`), then: `curl -i http://127.0.0.1:3000/hello/world`

use axum::{Router, extract::Path, routing::get};
use clap::Parser;
use telemetry::server;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// Answers GET /hello/NAME on port 3000.
#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    telemetry: telemetry::Settings,
}

/// Its span is a child of the request's span.
#[tracing::instrument]
async fn greeting(name: &str) -> String {
    format!("Hello {name}\n")
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let cli = Cli::parse();
    // Dropped after the runtime, so that the spans of the last requests are exported.
    let _telemetry = telemetry::init("greeter", "greeter-1", &cli.telemetry)?;
    let hello = get(async |Path(name): Path<String>| greeting(&name).await);
    let routes = server::traced(Router::new().route("/hello/{name}", hello)).merge(server::operations());
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let stop = CancellationToken::new();
        let on_signal = stop.clone();
        tokio::spawn(async move {
            let _ = tokio::signal::ctrl_c().await;
            on_signal.cancel();
        });
        Ok(server::serve(TcpListener::bind("127.0.0.1:3000").await?, routes, stop).await?)
    })
}
