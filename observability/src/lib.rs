//! Traces, latency distributions and the ledger that says whether they are complete.
//!
//! Knows nothing of tutoring: every module works on any OTLP system.

pub mod client;
pub mod collector;
pub mod critical_path;
mod forward;
mod go;
mod heavy;
mod ingest;
pub mod jaeger;
pub mod jaeger_ui;
pub mod latency;
pub mod ledger;
pub mod metrics;
pub mod otlp;
mod pages;
pub mod propagation;
pub mod server;
pub mod span;
mod store;
pub mod telemetry;
