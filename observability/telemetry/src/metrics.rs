//! Metrics of one process as OpenMetrics text: request durations, counts of spans, CPU time and memory.
//!
//! Names and help texts follow the semantic conventions of OpenTelemetry, in their Prometheus spelling.

mod process;

use std::sync::{LazyLock, Mutex, PoisonError};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric as _};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use crate::contract::DropReason;
use crate::span_counts;

/// Bucket boundaries in seconds: those that the conventions recommend for HTTP durations, and finer ones below 5 ms.
const DURATION_BUCKETS: [f64; 17] = [
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5,
    10.0,
];

/// Content type of the text that [`render`] returns.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

static METRICS: LazyLock<Metrics> = LazyLock::new(Metrics::new);

struct Metrics {
    registry: Mutex<Registry>,
    server_duration: Family<HttpLabels, Histogram>,
    connection_problems: Family<ConnectionLabels, Counter>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct HttpLabels {
    http_request_method: &'static str,
    http_route: String,
    http_response_status_code: u16,
}

/// The reason for not serving a connection at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ConnectionProblem {
    /// The maximum number of open connections was reached, so that the connection had to wait.
    LimitReached,
    /// The system could not accept it, for example for lack of file descriptors.
    AcceptFailed,
    /// Its peer sent nothing in time, and it was closed.
    Silent,
}

impl ConnectionProblem {
    fn as_str(self) -> &'static str {
        match self {
            Self::LimitReached => "limit_reached",
            Self::AcceptFailed => "accept_failed",
            Self::Silent => "silent",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ConnectionLabels {
    reason: &'static str,
}

impl Metrics {
    fn new() -> Self {
        let mut registry = Registry::default();
        let server_duration: Family<HttpLabels, Histogram> =
            Family::new_with_constructor(|| Histogram::new(DURATION_BUCKETS));
        registry.register_with_unit(
            "http_server_request_duration",
            "Duration of HTTP server requests",
            Unit::Seconds,
            server_duration.clone(),
        );
        let connection_problems = Family::default();
        registry.register(
            "connection_problems",
            "Connections that waited, failed or were closed before their first request",
            connection_problems.clone(),
        );
        registry.register_collector(Box::new(SpanMetrics));
        registry.register_collector(Box::new(process::ProcessMetrics));
        Self { registry: Mutex::new(registry), server_duration, connection_problems }
    }
}

/// Records one served request. `route` is the route template, or empty if no route matched.
pub fn observe_request(method: &'static str, route: &str, status: u16, seconds: f64) {
    let labels = HttpLabels {
        http_request_method: method,
        http_route: route.to_owned(),
        http_response_status_code: status,
    };
    METRICS.server_duration.get_or_create(&labels).observe(seconds);
}

/// Counts a connection that a listener did not serve at once.
pub(crate) fn count_connection_problem(problem: ConnectionProblem) {
    METRICS.connection_problems.get_or_create(&ConnectionLabels { reason: problem.as_str() }).inc();
}

/// Calls `add` with the process's registry, to register further metrics.
pub fn register(add: impl FnOnce(&mut Registry)) {
    add(&mut METRICS.registry.lock().unwrap_or_else(PoisonError::into_inner));
}

/// Returns all metrics of the process as OpenMetrics text.
pub fn render() -> String {
    let mut text = String::new();
    let registry = METRICS.registry.lock().unwrap_or_else(PoisonError::into_inner);
    // Writing to a `String` cannot fail.
    let _ = encode(&mut text, &registry);
    text
}

/// Counts of this process's spans.
#[derive(Debug)]
struct SpanMetrics;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ErrorLabel {
    error_type: &'static str,
}

impl Collector for SpanMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let counts = span_counts();
        let mut processed = encoder.encode_descriptor(
            "otel_sdk_processor_span_processed",
            "Spans for which the processing has finished, either successfully or with the error in error_type",
            None,
            MetricType::Counter,
        )?;
        for (error_type, count) in
            [("", counts.ended - counts.queue_full), (DropReason::QueueFull.as_str(), counts.queue_full)]
        {
            ConstCounter::new(count).encode(processed.encode_family(&ErrorLabel { error_type })?)?;
        }
        let mut exported = encoder.encode_descriptor(
            "otel_sdk_exporter_span_exported",
            "Spans for which the export has finished, either successfully or with the error in error_type",
            None,
            MetricType::Counter,
        )?;
        for (error_type, count) in
            [("", counts.exported), (DropReason::ExportFailed.as_str(), counts.export_failed)]
        {
            ConstCounter::new(count).encode(exported.encode_family(&ErrorLabel { error_type })?)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn renders_a_served_request() {
        observe_request("GET", "/metrics-test", 200, 0.002);
        let text = render();
        let line = r#"http_server_request_duration_seconds_count{http_request_method="GET",http_route="/metrics-test",http_response_status_code="200"} 1"#;
        assert!(text.contains(line), "{text}");
        assert!(text.contains("process_resident_memory_bytes"), "{text}");
        assert!(text.ends_with("# EOF\n"));
    }
}
