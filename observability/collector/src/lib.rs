//! A collector for spans: receives OTLP, stores traces and latency histograms within a memory limit, and answers queries.
//!
//! The modules are in the order in which a span passes them; each uses only modules above it.
//!
//! ```text
//! OTLP/gRPC ─┐                          ┌─▶ store     traces, bounded; what is evicted is counted
//!            ├─▶ receive ──▶ ingest ────┼─▶ latency   a histogram for each (service, operation, kind)
//! OTLP/HTTP ─┘   memory      otlp:      ├─▶ ledger    whether every expected trace is complete
//!                budget      decode     └─▶ forward   a copy for a second OTLP backend
//!
//! store, latency, ledger ─▶ blame   critical path, attribution to hops, waterfall
//!                        └▶ query   workbench API, Jaeger's HTTP and gRPC APIs
//!                        └▶ pages   server-rendered HTML, or a Jaeger UI
//! ```
//!
//! The crate is independent of the system whose spans it receives; it works with any OTLP exporter. `workbench serve
//! collector` runs it as a process, and [`run`] embeds it, for example in a test.
//!
//! # Example
//!
//! ```
//! use bytes::Bytes;
//! use collector::{Listeners, Settings, run};
//! use http_body_util::{BodyExt as _, Full};
//! use hyper_util::{client::legacy::Client, rt::TokioExecutor};
//! use serde_json::json;
//! use tokio_util::sync::CancellationToken;
//!
//! # #[tokio::main]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! // Port 0 binds a free port.
//! let settings = Settings {
//!     listen: "127.0.0.1:0".to_owned(),
//!     otlp_grpc_listen: "127.0.0.1:0".to_owned(),
//!     otlp_http_listen: "127.0.0.1:0".to_owned(),
//!     query_grpc_listen: "127.0.0.1:0".to_owned(),
//!     ..Settings::default()
//! };
//! let listeners = Listeners::bind(&settings).await?;
//! let (otlp, query) = (listeners.http.local_addr()?, listeners.query.local_addr()?);
//! let shutdown = CancellationToken::new();
//! let stop = shutdown.clone();
//! let collector = tokio::spawn(async move { run(listeners, &settings, stop).await });
//!
//! // Any OTLP exporter would do; this is one span as OTLP JSON.
//! let client = Client::builder(TokioExecutor::new()).build_http();
//! let service = json!({ "key": "service.name", "value": { "stringValue": "shop" } });
//! let span = json!({
//!     "traceId": "5b8efff798038103d269b633813fc60c", "spanId": "eee19b7ec3c1b174", "name": "GET /cart", "kind": 2,
//!     "startTimeUnixNano": "1795455811000000000", "endTimeUnixNano": "1795455811005000000",
//! });
//! let message = json!({ "resourceSpans": [{
//!     "resource": { "attributes": [service] }, "scopeSpans": [{ "spans": [span] }],
//! }] });
//! let export = http::Request::post(format!("http://{otlp}/v1/traces"))
//!     .header("content-type", "application/json")
//!     .body(Full::<Bytes>::from(message.to_string()))?;
//! assert_eq!(client.request(export).await?.status(), 200);
//!
//! // An accepted span is visible to the next query.
//! let request = http::Request::get(format!("http://{query}/api/services")).body(Full::default())?;
//! let response = client.request(request).await?.into_body().collect().await?.to_bytes();
//! let services: serde_json::Value = serde_json::from_slice(&response)?;
//! assert_eq!(services["data"], json!(["shop"]));
//!
//! shutdown.cancel();
//! collector.await??;
//! # Ok(())
//! # }
//! ```
//!
//! `cargo run -p collector --example embedded` runs the same with the OpenTelemetry SDK as the sender.

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
pub use ingest::{BYTE_ORDER_MARK, OpenError};
pub use query::jaeger::UiTrace;
pub use receive::CorsOrigin;
