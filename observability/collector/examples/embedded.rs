//! A collector embedded in a test: it receives a trace from the OpenTelemetry SDK and reports it as complete.
//!
//! `cargo run -p collector --example embedded` runs it; it needs no other process and ends by itself.

use std::error::Error;
use std::net::SocketAddr;

use bytes::Bytes;
use collector::{Listeners, Settings, run};
use http_body_util::{BodyExt as _, Full};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use opentelemetry::trace::{TraceContextExt as _, TraceId, Tracer as _, TracerProvider as _};
use opentelemetry_otlp::{SpanExporter, WithExportConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::SdkTracerProvider;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let free = || "127.0.0.1:0".to_owned();
    let settings = Settings {
        listen: free(),
        otlp_grpc_listen: free(),
        otlp_http_listen: free(),
        query_grpc_listen: free(),
        store_max_bytes: 16 << 20,
        ..Settings::default()
    };
    let listeners = Listeners::bind(&settings).await?;
    let (otlp, query) = (listeners.grpc.local_addr()?, listeners.query.local_addr()?);
    let shutdown = CancellationToken::new();
    let stop = shutdown.clone();
    let collector = tokio::spawn(async move { run(listeners, &settings, stop).await });

    let trace = record_trace(otlp).await?;
    let ledger = ledger(query, trace).await?;
    println!("trace {trace}: {}", serde_json::to_string_pretty(&ledger)?);
    assert_eq!(ledger["complete"], 1);

    shutdown.cancel();
    collector.await??;
    Ok(())
}

/// Records a trace of two spans and exports it.
async fn record_trace(otlp: SocketAddr) -> Result<TraceId, Box<dyn Error>> {
    let exporter = SpanExporter::builder().with_tonic().with_endpoint(format!("http://{otlp}")).build()?;
    let resource = Resource::builder().with_service_name("shop").build();
    let provider = SdkTracerProvider::builder().with_batch_exporter(exporter).with_resource(resource).build();
    let tracer = provider.tracer("example");
    let trace = tracer.in_span("GET /cart", |context| {
        tracer.in_span("load the cart", |_| {});
        context.span().span_context().trace_id()
    });
    // Blocks until the collector has accepted the spans.
    tokio::task::spawn_blocking(move || provider.shutdown()).await??;
    Ok(trace)
}

/// Asks whether the trace is complete.
async fn ledger(query: SocketAddr, trace: TraceId) -> Result<Value, Box<dyn Error>> {
    let client = Client::builder(TokioExecutor::new()).build_http();
    let request = http::Request::post(format!("http://{query}/api/workbench/ledger"))
        .header("content-type", "application/json")
        .body(Full::<Bytes>::from(json!({ "traces": [trace.to_string()] }).to_string()))?;
    let response = client.request(request).await?;
    Ok(serde_json::from_slice(&response.into_body().collect().await?.to_bytes())?)
}
