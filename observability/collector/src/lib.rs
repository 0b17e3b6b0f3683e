//! Traces, latency distributions and the ledger that says whether they are complete.
//!
//! Knows nothing of tutoring: every module works on any OTLP system.

pub mod format;
pub mod trace;
#[cfg(test)]
mod fixture;
mod go_syntax;
pub mod otlp;
mod store;
pub mod latency;
pub mod ledger;
pub mod blame;
mod forward;
mod ingest;
mod receive;
mod query;
mod base_path;
mod pages;
mod collector;

pub use base_path::{BasePath, ParseBasePathError};
pub use collector::{Error, Listeners, RenamedVariables, Settings, Snapshot, run};
pub use ingest::OpenError;
pub use query::jaeger::UiTrace;
