//! Telemetry of one process: spans over OTLP/gRPC, log lines as JSON on stdout.
//!
//! Called once by each process. Promises that no span ever holds up a service: the queue is bounded, what does not fit is
//! counted and reported, an absent collector is retried. Log lines are kept whole instead: they wait for whoever reads them.

pub mod arguments;
pub mod client;
pub mod contract;
mod export;
mod log;
pub mod metrics;
pub mod propagation;
pub mod server;
mod settings;

use std::sync::OnceLock;
use std::time::Duration;

use opentelemetry::trace::TracerProvider as _;
use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::{Sampler as SdkSampler, SdkTracer, SdkTracerProvider};
use tracing_subscriber::Layer as _;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use log::lines::Lines;

pub use export::{SpanCounts, span_counts};
pub use settings::{Endpoint, LogFilter, NotAnEndpoint, Sampler, Sampling, Settings};

/// How long the last flush may take when the process stops.
const FLUSH_DEADLINE: Duration = Duration::from_secs(5);

static TRACER: OnceLock<SdkTracer> = OnceLock::new();

/// Why telemetry could not start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A subscriber or tracer is installed already.
    #[error("telemetry was started twice in one process")]
    AlreadyStarted,
    /// The thread that sends spans did not start.
    #[error("a thread that sends spans or log lines did not start")]
    Thread(#[source] std::io::Error),
}

/// Flushes what is still queued when dropped. Blocks while it does so: drop it outside the runtime.
#[derive(Debug)]
pub struct Guard {
    provider: SdkTracerProvider,
    lines: Lines,
}

impl Drop for Guard {
    fn drop(&mut self) {
        if let Err(error) = self.provider.shutdown_with_timeout(FLUSH_DEADLINE) {
            tracing::warn!(%error, "the last spans were not exported");
        }
        self.lines.flush(&mut std::io::stdout());
    }
}

/// Starts tracing and logging for this process. `service` and `instance` are its `service.name` and `service.instance.id`.
pub fn init(service: &'static str, instance: &str, settings: &Settings) -> Result<Guard, Error> {
    opentelemetry::global::set_text_map_propagator(TraceContextPropagator::new());
    let resource = Resource::builder()
        .with_service_name(service)
        .with_attribute(KeyValue::new("service.instance.id", instance.to_owned()))
        .build();
    let mut provider = SdkTracerProvider::builder().with_resource(resource);
    if let Endpoint::Grpc(endpoint) = &settings.otlp_endpoint {
        let processor = export::QueuedProcessor::start(endpoint.clone(), settings).map_err(Error::Thread)?;
        provider = provider.with_span_processor(processor).with_sampler(settings.sampling.sampler());
    } else {
        provider = provider.with_sampler(SdkSampler::AlwaysOff);
    }
    let provider = provider.build();
    let tracer = provider.tracer_with_scope(scope());

    // Spans of the `tracing` macros: application work off the hot path. The libraries below would trace the export itself.
    let application_spans = tracing_opentelemetry::layer()
        .with_tracer(tracer.clone())
        .with_location(false)
        .with_threads(false)
        .with_level(false)
        .with_target(false)
        .with_tracked_inactivity(false)
        .with_filter(Targets::new().with_target("span", tracing::Level::INFO));
    let lines = Lines::start(std::io::stdout()).map_err(Error::Thread)?;
    let line_layer = tracing_subscriber::fmt::layer()
        .with_writer(lines.clone())
        .event_format(log::JsonLine::new(service, instance))
        .with_filter(settings.log_filter.layer());
    tracing_subscriber::registry()
        .with(application_spans)
        .with(line_layer)
        .try_init()
        .map_err(|_| Error::AlreadyStarted)?;
    TRACER.set(tracer).map_err(|_| Error::AlreadyStarted)?;
    Ok(Guard { provider, lines })
}

/// The process's tracer; before [`init`] (in tests of one module) it records nothing.
pub fn tracer() -> &'static SdkTracer {
    TRACER.get().unwrap_or_else(|| {
        static SILENT: OnceLock<SdkTracer> = OnceLock::new();
        SILENT.get_or_init(|| {
            SdkTracerProvider::builder()
                .with_sampler(SdkSampler::AlwaysOff)
                .build()
                .tracer_with_scope(scope())
        })
    })
}

fn scope() -> InstrumentationScope {
    InstrumentationScope::builder(contract::SCOPE).with_version(env!("CARGO_PKG_VERSION")).build()
}
