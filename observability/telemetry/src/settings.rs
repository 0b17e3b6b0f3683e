//! The telemetry settings of a process, read by clap from flags or the standard OpenTelemetry variables.
//!
//! As the OpenTelemetry specification requires, an empty variable counts as unset, with one exception:
//! an empty `OTEL_EXPORTER_OTLP_ENDPOINT` turns the export off.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use opentelemetry_sdk::trace::Sampler as SdkSampler;
use tracing_subscriber::filter::EnvFilter;

use crate::arguments::{ParseError, base_url, bytes};
use crate::attribute::MAX_VALUE_BYTES;

/// Default size of a log file and its predecessor, in bytes.
pub const LOG_FILE_MAX_BYTES: u64 = 64 << 20;
/// Maximum of the queue size and of the batch size.
const MAX_SPANS: usize = 10_000_000;
const QUEUE_SIZE: usize = 65_536;
const BATCH_SIZE: usize = 512;
const SCHEDULE_DELAY: Duration = Duration::from_millis(200);
const MAX_SCHEDULE_DELAY: Duration = Duration::from_secs(600);

/// Where the spans of a process go, which requests are traced, and which log lines are written.
#[derive(Debug, Clone, PartialEq, clap::Args)]
#[command(next_help_heading = "Telemetry")]
pub struct Settings {
    /// OTLP/gRPC endpoint that receives spans, such as http://127.0.0.1:4317; empty turns the export off
    #[arg(long, env = "OTEL_EXPORTER_OTLP_ENDPOINT", value_name = "URL", default_value_t)]
    pub otlp_endpoint: Endpoint,
    /// Filter of log lines, in the syntax of tracing-subscriber's EnvFilter
    #[arg(long, env = "RUST_LOG", value_name = "FILTER", default_value_t)]
    pub log_filter: LogFilter,
    /// Log file instead of stdout; the process must be the only one that writes it [default: none]
    #[arg(long, env = "LOG_FILE", value_name = "FILE")]
    pub log_file: Option<PathBuf>,
    /// Maximum size of the log file and its predecessor FILE.1 together, in bytes (at least 65536)
    #[arg(long, env = "LOG_FILE_MAX_BYTES", value_name = "BYTES", default_value_t = LOG_FILE_MAX_BYTES, value_parser = bytes::<u64>)]
    pub log_file_max_bytes: u64,
    /// Maximum number of spans that wait for export; further spans are dropped and counted (at least 1)
    #[arg(long, env = "OTEL_BSP_MAX_QUEUE_SIZE", value_name = "SPANS", default_value_t = QUEUE_SIZE, value_parser = spans(QUEUE_SIZE))]
    pub span_queue_size: usize,
    /// Maximum number of spans in one export request (at least 1)
    #[arg(long, env = "OTEL_BSP_MAX_EXPORT_BATCH_SIZE", value_name = "SPANS", default_value_t = BATCH_SIZE, value_parser = spans(BATCH_SIZE))]
    pub span_batch_size: usize,
    /// Maximum time that a span waits for its batch to fill, in milliseconds
    #[arg(long, env = "OTEL_BSP_SCHEDULE_DELAY", value_name = "MS", default_value = "200", value_parser = schedule_delay)]
    pub span_delay: Duration,
    /// Maximum length of an attribute value, in bytes; longer ones are cut (at most 4096, and 256 for values from requests)
    #[arg(
        id = "attribute_value_length_limit", long = "attribute-value-length-limit",
        env = "OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT", value_name = "BYTES", default_value_t = MAX_VALUE_BYTES, value_parser = value_length
    )]
    pub attribute_value_length: usize,
    /// Which requests are traced.
    #[command(flatten)]
    pub sampling: Sampling,
}

impl Default for Settings {
    /// Returns the settings of a process without any flag or variable.
    fn default() -> Self {
        Self {
            otlp_endpoint: Endpoint::default(),
            log_filter: LogFilter::default(),
            log_file: None,
            log_file_max_bytes: LOG_FILE_MAX_BYTES,
            span_queue_size: QUEUE_SIZE,
            span_batch_size: BATCH_SIZE,
            span_delay: SCHEDULE_DELAY,
            attribute_value_length: MAX_VALUE_BYTES,
            sampling: Sampling::default(),
        }
    }
}

/// Which requests are traced. Read here and not by the SDK, which replaces an unknown sampler by its default and only logs it.
#[derive(Debug, Clone, Copy, PartialEq, clap::Args)]
#[command(next_help_heading = "Telemetry")]
pub struct Sampling {
    /// Sampler of traces
    #[arg(long, env = "OTEL_TRACES_SAMPLER", value_name = "SAMPLER", value_enum, default_value_t)]
    pub traces_sampler: Sampler,
    /// Fraction of the traces that the samplers named …traceidratio record, 0 to 1
    #[arg(long, env = "OTEL_TRACES_SAMPLER_ARG", value_name = "RATIO", default_value_t = 1.0, value_parser = ratio)]
    pub traces_sampler_arg: f64,
}

impl Default for Sampling {
    fn default() -> Self {
        Self { traces_sampler: Sampler::default(), traces_sampler_arg: 1.0 }
    }
}

impl Sampling {
    pub(crate) fn to_sdk(self) -> SdkSampler {
        let parent_based = |root| SdkSampler::ParentBased(Box::new(root));
        let ratio = SdkSampler::TraceIdRatioBased(self.traces_sampler_arg);
        match self.traces_sampler {
            Sampler::AlwaysOn => SdkSampler::AlwaysOn,
            Sampler::AlwaysOff => SdkSampler::AlwaysOff,
            Sampler::TraceIdRatio => ratio,
            Sampler::ParentBasedAlwaysOn => parent_based(SdkSampler::AlwaysOn),
            Sampler::ParentBasedAlwaysOff => parent_based(SdkSampler::AlwaysOff),
            Sampler::ParentBasedTraceIdRatio => parent_based(ratio),
        }
    }
}

/// The samplers of the OpenTelemetry specification that the SDK implements.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
#[allow(missing_docs, reason = "each is named as in the specification")]
pub enum Sampler {
    #[value(name = "always_on")]
    AlwaysOn,
    #[value(name = "always_off")]
    AlwaysOff,
    #[value(name = "traceidratio")]
    TraceIdRatio,
    #[default]
    #[value(name = "parentbased_always_on", alias = "")]
    ParentBasedAlwaysOn,
    #[value(name = "parentbased_always_off")]
    ParentBasedAlwaysOff,
    #[value(name = "parentbased_traceidratio")]
    ParentBasedTraceIdRatio,
}

/// Where spans are sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Endpoint {
    /// Nowhere: no request is traced.
    Off,
    /// To an OTLP/gRPC receiver, `http://host:port`.
    Grpc(String),
}

impl Default for Endpoint {
    fn default() -> Self {
        Self::Grpc("http://127.0.0.1:4317".to_owned())
    }
}

impl FromStr for Endpoint {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        if text.is_empty() { Ok(Self::Off) } else { base_url(text).map(Self::Grpc) }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Off => Ok(()),
            Self::Grpc(url) => f.write_str(url),
        }
    }
}

/// A valid filter of log lines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogFilter(String);

impl LogFilter {
    /// Returns a filter that writes no line.
    pub fn off() -> Self {
        Self("off".to_owned())
    }

    pub(crate) fn to_env_filter(&self) -> EnvFilter {
        EnvFilter::new(&self.0)
    }
}

impl Default for LogFilter {
    fn default() -> Self {
        Self("info".to_owned())
    }
}

impl FromStr for LogFilter {
    type Err = tracing_subscriber::filter::ParseError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.is_empty() {
            return Ok(Self::default());
        }
        EnvFilter::try_new(text)?;
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for LogFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Parses a number of spans; an empty text gives `default`.
fn spans(default: usize) -> impl Fn(&str) -> Result<usize, String> + Clone + Send + Sync + 'static {
    move |text| {
        let spans = number(text, default).filter(|number| (1..=MAX_SPANS).contains(number));
        spans.ok_or_else(|| format!("must be a number from 1 to {MAX_SPANS}"))
    }
}

/// Parses a number of bytes; an empty text gives the default.
fn value_length(text: &str) -> Result<usize, String> {
    number(text, MAX_VALUE_BYTES).ok_or("must be a number of bytes".to_owned())
}

/// Parses milliseconds.
fn schedule_delay(text: &str) -> Result<Duration, String> {
    let delay = number(text, SCHEDULE_DELAY.as_millis() as u64).map(Duration::from_millis);
    let maximum = MAX_SCHEDULE_DELAY.as_millis();
    delay
        .filter(|delay| *delay <= MAX_SCHEDULE_DELAY)
        .ok_or_else(|| format!("must be a number of milliseconds from 0 to {maximum}"))
}

/// Parses a number from 0 to 1.
fn ratio(text: &str) -> Result<f64, String> {
    let ratio = number(text, 1.0).filter(|ratio| (0.0..=1.0).contains(ratio));
    ratio.ok_or("must be a number from 0 to 1".to_owned())
}

fn number<T: FromStr>(text: &str, default: T) -> Option<T> {
    let text = text.trim();
    if text.is_empty() { Some(default) } else { text.parse().ok() }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    #[derive(Debug, clap::Parser)]
    struct Cli {
        #[command(flatten)]
        settings: Settings,
    }

    fn parse(arguments: &[&str]) -> Result<Settings, clap::Error> {
        let arguments = std::iter::once("test").chain(arguments.iter().copied());
        Cli::try_parse_from(arguments).map(|cli| cli.settings)
    }

    #[test]
    fn without_arguments_gives_the_defaults() {
        assert_eq!(parse(&[]).unwrap(), Settings::default());
    }

    #[test]
    fn an_empty_value_gives_the_default_except_for_the_endpoint() {
        let empty = ["--otlp-endpoint=", "--log-filter=", "--span-queue-size=", "--span-batch-size="];
        let sampling = [
            "--span-delay=",
            "--attribute-value-length-limit=",
            "--traces-sampler=",
            "--traces-sampler-arg=",
        ];
        let settings = parse(&[empty.as_slice(), &sampling].concat()).unwrap();
        assert_eq!(settings, Settings { otlp_endpoint: Endpoint::Off, ..Settings::default() });
    }

    #[test]
    fn rejects_values_out_of_range() {
        for argument in [
            "--otlp-endpoint=localhost:4317",
            "--log-filter=info=nonsense",
            "--span-queue-size=0",
            "--span-queue-size=10000001",
            "--span-batch-size=many",
            "--span-batch-size=10000001",
            "--span-delay=-1",
            "--span-delay=600001",
            "--log-file-max-bytes=1099511627777",
            "--attribute-value-length-limit=long",
            "--traces-sampler=banana",
            "--traces-sampler-arg=1.5",
        ] {
            let error = parse(&[argument]).unwrap_err();
            assert_eq!(error.exit_code(), 2, "{argument}: {error}");
        }
    }
}
