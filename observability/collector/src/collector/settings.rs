//! Settings of the collector, from the command line or from variables.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use telemetry::arguments::{Empty, Renamed, address, base_url, bytes, within};

use crate::base_path::BasePath;
use crate::go_syntax::{self, ParseError};
use crate::receive::CorsOrigin;

const LISTEN: &str = "127.0.0.1:16686";
const OTLP_GRPC_LISTEN: &str = "127.0.0.1:4317";
const OTLP_HTTP_LISTEN: &str = "127.0.0.1:4318";
const QUERY_GRPC_LISTEN: &str = "127.0.0.1:16685";
const STORE_MAX_BYTES: usize = 96 << 20;
const MAX_CONNECTIONS: usize = 1024;

/// Settings of the collector.
#[derive(Debug, Clone, Args)]
pub struct Settings {
    /// Address of the pages, the query API, health and metrics
    #[arg(long, env = "LISTEN", value_name = "HOST:PORT", default_value = LISTEN, value_parser = address)]
    pub listen: String,
    /// Address of the OTLP/gRPC receiver
    #[arg(
        long,
        env = "OTLP_GRPC_LISTEN",
        value_name = "HOST:PORT",
        default_value = OTLP_GRPC_LISTEN,
        value_parser = address
    )]
    pub otlp_grpc_listen: String,
    /// Address of the OTLP/HTTP receiver
    #[arg(
        long,
        env = "OTLP_HTTP_LISTEN",
        value_name = "HOST:PORT",
        default_value = OTLP_HTTP_LISTEN,
        value_parser = address
    )]
    pub otlp_http_listen: String,
    /// Address of Jaeger's gRPC query and storage services
    #[arg(
        long,
        env = "COLLECTOR_QUERY_GRPC_LISTEN",
        value_name = "HOST:PORT",
        default_value = QUERY_GRPC_LISTEN,
        value_parser = address
    )]
    pub query_grpc_listen: String,
    /// Origins of pages that may send OTLP/HTTP from a browser, such as http://localhost:3000, separated by commas; * allows
    /// every origin [default: none]
    #[arg(long, env = "COLLECTOR_CORS_ORIGINS", value_name = "ORIGINS", value_delimiter = ',')]
    pub cors_origins: Vec<CorsOrigin>,
    /// Maximum number of open connections to each port; at most a quarter of the file descriptors (at least 1)
    #[arg(
        long,
        env = "COLLECTOR_MAX_CONNECTIONS",
        value_name = "NUMBER",
        default_value_t = MAX_CONNECTIONS,
        value_parser = within(1..=1_000_000_usize)
    )]
    pub max_connections: usize,
    /// OTLP/gRPC endpoint that receives a copy of every accepted message [default: none]
    #[arg(long, env = "OTLP_FORWARD_ENDPOINT", value_name = "URL", value_parser = base_url)]
    pub otlp_forward_endpoint: Option<String>,
    /// Memory limit of the stored traces and histograms, in bytes (at least 65536)
    #[arg(
        long,
        env = "COLLECTOR_STORE_MAX_BYTES",
        value_name = "BYTES",
        default_value_t = STORE_MAX_BYTES,
        value_parser = bytes::<usize>
    )]
    pub store_max_bytes: usize,
    /// Path below which a reverse proxy serves the pages and the query API, such as /jaeger [default: the root]
    #[arg(
        long,
        env = "COLLECTOR_BASE_PATH",
        value_name = "PATH",
        default_value_t,
        hide_default_value = true
    )]
    pub base_path: BasePath,
    /// Folder of a Jaeger UI to serve instead of the built-in pages: the unpacked assets.tar.gz of a jaeger-ui release
    #[arg(long, env = "COLLECTOR_JAEGER_UI", value_name = "DIR")]
    pub jaeger_ui: Option<PathBuf>,
    /// Maximum correction of skewed clocks in the traces of Jaeger's APIs, such as 500ms; 0 only adds warnings
    #[arg(
        long,
        env = "COLLECTOR_MAX_CLOCK_SKEW_ADJUST",
        value_name = "TIME",
        default_value = "0s",
        value_parser = duration
    )]
    pub max_clock_skew_adjust: Duration,
    /// Former names of variables; always empty.
    #[command(flatten)]
    pub renamed: RenamedVariables,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            listen: LISTEN.to_owned(),
            otlp_grpc_listen: OTLP_GRPC_LISTEN.to_owned(),
            otlp_http_listen: OTLP_HTTP_LISTEN.to_owned(),
            query_grpc_listen: QUERY_GRPC_LISTEN.to_owned(),
            cors_origins: Vec::new(),
            max_connections: MAX_CONNECTIONS,
            otlp_forward_endpoint: None,
            store_max_bytes: STORE_MAX_BYTES,
            base_path: BasePath::default(),
            jaeger_ui: None,
            max_clock_skew_adjust: Duration::ZERO,
            renamed: RenamedVariables::default(),
        }
    }
}

/// Parses a duration in Go's syntax, as in Jaeger's configuration.
fn duration(text: &str) -> Result<Duration, ParseError> {
    go_syntax::parse_duration(text.trim()).map(Duration::from_nanos)
}

/// Former names of variables: setting one is a usage error that names the present one.
#[derive(Debug, Clone, Default, Args)]
pub struct RenamedVariables {
    #[arg(
        id = "renamed_store_max_bytes",
        long = "renamed-store-max-bytes",
        hide = true,
        env = "STORE_MAX_BYTES",
        value_parser = Renamed { from: "STORE_MAX_BYTES", to: "COLLECTOR_STORE_MAX_BYTES" }
    )]
    store_max_bytes: Option<Empty>,
    #[arg(
        id = "renamed_base_path",
        long = "renamed-base-path",
        hide = true,
        env = "BASE_PATH",
        value_parser = Renamed { from: "BASE_PATH", to: "COLLECTOR_BASE_PATH" }
    )]
    base_path: Option<Empty>,
    #[arg(
        id = "renamed_jaeger_ui",
        long = "renamed-jaeger-ui",
        hide = true,
        env = "JAEGER_UI",
        value_parser = Renamed { from: "JAEGER_UI", to: "COLLECTOR_JAEGER_UI" }
    )]
    jaeger_ui: Option<Empty>,
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Cli {
        #[command(flatten)]
        settings: Settings,
    }

    fn parse(arguments: &[&str]) -> Result<Settings, clap::Error> {
        Cli::try_parse_from(["collector"].iter().chain(arguments)).map(|cli| cli.settings)
    }

    #[test]
    fn the_command_line_has_the_same_defaults_as_the_type() {
        assert_eq!(format!("{:?}", parse(&[]).unwrap()), format!("{:?}", Settings::default()));
    }

    #[test]
    fn rejects_values_out_of_range() {
        for arguments in [
            ["--listen", "nonsense"],
            ["--otlp-grpc-listen", ":4317"],
            ["--otlp-http-listen", "localhost"],
            ["--query-grpc-listen", "16685"],
            ["--cors-origins", "shop.example"],
            ["--cors-origins", "https://shop.example,https://*.example"],
            ["--max-connections", "0"],
            ["--max-connections", "1000001"],
            ["--otlp-forward-endpoint", "jaeger:4317"],
            ["--store-max-bytes", "65535"],
            ["--store-max-bytes", "1099511627777"],
            ["--base-path", "jaeger/"],
            ["--max-clock-skew-adjust", "5"],
            ["--max-clock-skew-adjust=-5s", "--"],
            ["--renamed-base-path", "/jaeger"],
        ] {
            let error = parse(&arguments).unwrap_err();
            assert_eq!(error.exit_code(), 2, "{arguments:?}: {error}");
        }
    }
}
