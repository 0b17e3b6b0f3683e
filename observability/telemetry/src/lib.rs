//! Telemetry of a process: spans over OTLP/gRPC, log lines as JSON on stdout, metrics as OpenMetrics text.
//!
//! ```text
//! request ─▶ server::traced ─────────▶ SERVER span ─┐
//!              │ handler                            │
//!              ├─ #[tracing::instrument] helper ────┤                          full, or backend lost
//!              ├─ wait_span!, database::acquire ────┼─▶ queue ─▶ OTLP/gRPC ─▶ backend
//!              ├─ database::query ──▶ CLIENT span ──┤     │ full             ▲
//!              └─ client::ClientSpan ─▶ peer ───────┘     └─▶ counted, ──────┘
//!                                                             reported
//! tracing::info! ─▶ one JSON object with trace_id and span_id ─▶ stdout
//! ```
//!
//! # Example
//!
//! ```
//! use axum::{Router, body::Body, http::Request, routing::get};
//! use telemetry::{Endpoint, Settings, server};
//! use tower::ServiceExt as _;
//!
//! /// Its span is a child of the request's span.
//! #[tracing::instrument]
//! async fn greeting(name: &str) -> String {
//!     tracing::info!("greeting");
//!     format!("Hello {name}")
//! }
//!
//! async fn serve_one_request() -> Result<(), Box<dyn std::error::Error>> {
//!     let app = server::traced(Router::new().route("/", get(|| greeting("world"))));
//!     let response = app.oneshot(Request::get("/").body(Body::empty())?).await?;
//!     assert!(response.status().is_success());
//!     Ok(())
//! }
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! // A program flattens `Settings` into its clap arguments instead.
//! let settings = Settings { otlp_endpoint: Endpoint::Off, ..Settings::default() };
//! // Dropped after the runtime, so that the spans of the last requests are exported.
//! let _telemetry = telemetry::init("greeter", "greeter-1", &settings)?;
//! let runtime = tokio::runtime::Builder::new_current_thread().build()?;
//! runtime.block_on(serve_one_request())
//! # }
//! ```
//!
//! `cargo run -p telemetry --example service` runs a whole service.
//!
//! # Two ways to make a span
//!
//! Application spans are `tracing` spans: `#[tracing::instrument]`, `tracing::info_span!` or [`wait_span!`]. Those of
//! level INFO and above are exported through tracing-opentelemetry. The parent is the span that is current when the
//! span is created, and a span that is entered is the parent of every span below it, whichever way either was made.
//!
//! The spans around HTTP requests, SQL statements and messages use the OpenTelemetry SDK directly. They lie on the path
//! of every request, and a `tracing` span costs about 1.6 µs where a span of the SDK costs 0.2 µs.
//!
//! # Waits
//!
//! A span that only waits (for a pooled connection, a permit, a lease or another request's result) has the boolean
//! attribute `workbench.wait` = true, and no child. An analysis counts its time as waiting; all other time is work or
//! transit. The name of the span has no meaning to the analysis. See [`wait`].
//!
//! # Guarantees
//!
//! - Exporting spans never blocks a request. The queue is bounded to a number of spans and to 128 MiB; a span that does
//!   not fit is counted in [`metrics`] and reported to the collector (see [`contract`]). A failed export is retried for
//!   10 s, unless the backend refused it for good.
//! - Attribute values are bounded: a value that comes from a request is cut at 256 bytes, any other at 4 KiB.
//! - Log lines go to stdout, or to a file of bounded size (`LOG_FILE`). No line is dropped while the output accepts lines:
//!   when stdout is not read and 1 MiB is buffered, logging blocks.

pub mod arguments;
pub mod contract;
pub mod throttle;
mod attribute;
mod settings;
pub mod propagation;
mod export;
mod log;
pub mod metrics;
mod tracer;
pub mod wait;
pub mod database;
pub mod client;
pub mod server;

use std::path::PathBuf;
use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::{Sampler as SdkSampler, SdkTracer, SdkTracerProvider};
use tracing::Subscriber;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::{FilterExt as _, LevelFilter, Targets, filter_fn};
use tracing_subscriber::layer::{Filter, SubscriberExt as _};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt as _;

use export::BatchProcessor;
use log::json::JsonFormat;
use log::writer::BatchWriter;

pub use export::{SpanCounts, span_counts};
pub use log::file::LogFile;
pub use settings::{Endpoint, LOG_FILE_MAX_BYTES, LogFilter, Sampler, Sampling, Settings};
pub use tracer::tracer;
/// For [`wait_span!`].
#[doc(hidden)]
pub use tracing;

/// Maximum duration of the last flush when the process stops.
const FLUSH_DEADLINE: Duration = Duration::from_secs(5);

/// Libraries whose `tracing` spans are not exported. The export uses most of them, and would trace itself.
const UNTRACED_LIBRARIES: [&str; 8] =
    ["goose", "h2", "hyper", "opentelemetry", "reqwest", "sqlx", "tonic", "tower"];

/// An error while starting telemetry.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A subscriber or tracer is installed already.
    #[error("telemetry was started twice in one process")]
    AlreadyStarted,
    /// The log file cannot be opened.
    #[error("cannot write the log file {} (LOG_FILE)", path.display())]
    LogFile {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// The system refused a thread.
    #[error("cannot start the thread that exports spans or writes log lines")]
    Thread(#[source] std::io::Error),
}

/// Exports the queued spans and writes the buffered log lines when dropped. Blocks for up to 5 s: drop it outside the
/// runtime.
#[derive(Debug)]
pub struct Guard {
    provider: SdkTracerProvider,
    writer: BatchWriter,
}

impl Drop for Guard {
    fn drop(&mut self) {
        if let Err(error) = self.provider.shutdown_with_timeout(FLUSH_DEADLINE) {
            tracing::warn!(%error, "cannot export the last spans");
        }
        self.writer.flush();
    }
}

/// Starts tracing and logging for this process. `service` and `instance` are its `service.name` and
/// `service.instance.id`.
pub fn init(service: &'static str, instance: &str, settings: &Settings) -> Result<Guard, Error> {
    opentelemetry::global::set_text_map_propagator(TraceContextPropagator::new());
    let provider = provider(service, instance, settings)?;
    let tracer = tracer::of(&provider);
    let writer = log_writer(settings)?;
    let log_lines = tracing_subscriber::fmt::layer()
        .with_writer(writer.clone())
        // They would be printed with a macro that panics when stderr is closed.
        .log_internal_errors(false)
        .event_format(JsonFormat::new(service, instance))
        // Lines do not show the fields of spans, so spans need not format them.
        .fmt_fields(tracing_subscriber::fmt::format::debug_fn(|_, _, _| Ok(())))
        .with_filter(settings.log_filter.to_env_filter());
    tracing_subscriber::registry()
        .with(application_spans(tracer.clone()))
        .with(log_lines)
        .try_init()
        .map_err(|_| Error::AlreadyStarted)?;
    tracer::set(tracer).map_err(|_| Error::AlreadyStarted)?;
    Ok(Guard { provider, writer })
}

fn log_writer(settings: &Settings) -> Result<BatchWriter, Error> {
    let writer = match &settings.log_file {
        Some(path) => {
            let failed = |source| Error::LogFile { path: path.clone(), source };
            BatchWriter::start(LogFile::open(path, settings.log_file_max_bytes).map_err(failed)?)
        }
        None => BatchWriter::start(std::io::stdout()),
    };
    writer.map_err(Error::Thread)
}

fn provider(service: &'static str, instance: &str, settings: &Settings) -> Result<SdkTracerProvider, Error> {
    let resource = Resource::builder()
        .with_service_name(service)
        .with_attribute(KeyValue::new("service.instance.id", instance.to_owned()))
        .build();
    let provider =
        SdkTracerProvider::builder().with_resource(resource).with_id_generator(tracer::Ids::default());
    let provider = match &settings.otlp_endpoint {
        Endpoint::Off => provider.with_sampler(SdkSampler::AlwaysOff),
        Endpoint::Grpc(url) => {
            let processor = BatchProcessor::start(url.clone(), settings).map_err(Error::Thread)?;
            provider.with_sampler(settings.sampling.to_sdk()).with_span_processor(processor)
        }
    };
    Ok(provider.build())
}

/// Exports `tracing` spans as children of the current OpenTelemetry context. A span is the current one while it is entered.
fn application_spans<S>(tracer: SdkTracer) -> impl Layer<S>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    tracing_opentelemetry::layer()
        .with_tracer(tracer)
        .with_context_activation(true)
        .with_location(false)
        .with_threads(false)
        .with_level(false)
        .with_target(false)
        .with_tracked_inactivity(false)
        .with_filter(exported_spans())
}

/// Admits spans only. An event would become a span event, and one of level ERROR would mark its span as failed.
fn exported_spans<S>() -> impl Filter<S> {
    let targets = Targets::new()
        .with_default(LevelFilter::INFO)
        .with_targets(UNTRACED_LIBRARIES.map(|library| (library, LevelFilter::OFF)));
    targets.and(filter_fn(|metadata| metadata.is_span()))
}
