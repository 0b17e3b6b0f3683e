//! The command-line options of a run.

use std::path::PathBuf;
use std::time::Duration;

use system::role::Role;

use super::trace_trust::TraceTrust;
use crate::analysis::slo::Slo;
use crate::http_client::{otlp_grpc_url, server_url};
use crate::plan::Profile;
use crate::stack::MAX_ROWS;

/// Maximum of `--rate`.
const MAX_RATE: f64 = 1e6;

/// The load and its objectives.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct RunOptions {
    /// Course of the request rate
    #[arg(long, value_enum, default_value = "steady")]
    pub(crate) profile: Profile,
    /// Requests per second
    #[arg(long, default_value = "200", value_parser = rate)]
    pub(crate) rate: f64,
    /// Duration of the load, such as 20s, 5m or 1500ms; at most 50m, because log-ins expire after one hour
    #[arg(long, default_value = "20s", value_parser = duration)]
    pub(crate) duration: Duration,
    /// Seed of the plan: equal seeds send the same requests at the same instants
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
    /// Objective, such as 'p99<50ms', 'GET /search:p99.9<80ms' or 'late_share<0.05'; may be repeated. Requests without a
    /// verified reply count as infinitely slow
    #[arg(long, value_name = "EXPR", num_args = 1..)]
    pub(crate) slo: Vec<Slo>,
    /// Number of goose users; derived from the plan by default
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(crate) users: Option<u32>,
    /// Folder in which the run's folder is created
    #[arg(long, value_name = "DIR", default_value = "runs")]
    pub(crate) out: PathBuf,
    /// Print run.json instead of the report
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) sampling: telemetry::Sampling,
}

/// The system under load.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Endpoints {
    /// URL of the balancer
    #[arg(long, value_name = "URL", env = "WORKBENCH_TARGET", default_value = Role::Balancer.url(), value_parser = server_url)]
    pub(crate) target: String,
    /// URL of the collector's query API
    #[arg(long, value_name = "URL", env = "WORKBENCH_COLLECTOR", default_value = Role::Collector.url(), value_parser = server_url)]
    pub(crate) collector: String,
    /// URL of the collector's OTLP/gRPC receiver; empty turns the export off
    #[arg(long, value_name = "URL", env = "WORKBENCH_OTLP", default_value = "http://127.0.0.1:4317", value_parser = otlp_grpc_url)]
    pub(crate) otlp: String,
    /// Number of tutors that the target was seeded with
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(2..=MAX_ROWS))]
    pub(crate) tutors: u32,
    /// Number of students that the target was seeded with
    #[arg(long, value_name = "N", default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=MAX_ROWS))]
    pub(crate) students: u32,
    #[command(flatten)]
    pub(crate) trust: TraceTrust,
}

fn rate(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(rate) if rate > 0.0 && rate <= MAX_RATE => Ok(rate),
        _ => Err(format!("expected a positive number of requests per second, at most {MAX_RATE}")),
    }
}

fn duration(text: &str) -> Result<Duration, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let seconds = match &text[digits.len()..] {
        "ms" => 1e-3,
        "s" | "" => 1.0,
        "m" | "min" => 60.0,
        "h" => 3600.0,
        _ => 0.0,
    };
    match digits.parse::<f64>().map(|number| number * seconds) {
        Ok(seconds) if seconds > 0.0 && seconds <= 3_000.0 => Ok(Duration::from_secs_f64(seconds)),
        _ => Err("expected a number with ms, s, m or h, at most 50m".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_durations_and_rates() {
        assert_eq!(duration("20s"), Ok(Duration::from_secs(20)));
        assert_eq!(duration("1500ms"), Ok(Duration::from_millis(1500)));
        assert_eq!(duration("2m"), Ok(Duration::from_secs(120)));
        assert_eq!(duration("3"), Ok(Duration::from_secs(3)));
        for bad in ["", "0s", "-1s", "1d", "ten", "inf", "nans", "51m", "1h"] {
            assert!(duration(bad).is_err(), "{bad}");
        }
        assert_eq!(rate("0.5"), Ok(0.5));
        for bad in ["0", "-1", "NaN", "inf", "many", "1000001"] {
            assert!(rate(bad).is_err_and(|error| error.contains("at most 1000000")), "{bad}");
        }
    }
}
