//! Jaeger's query services over gRPC, and those of a storage that a Jaeger reads from.
//!
//! Answers, permits and error texts are those of the HTTP API: INVALID_ARGUMENT for a malformed request, NOT_FOUND for an
//! unknown trace, UNAVAILABLE if the server is busy, and INTERNAL without details for a failure. A search without a result
//! is an empty stream. Each trace is a chunk of its own, a long one several consecutive chunks.

mod chunks;
mod parameters;
mod reply;
mod watched_body;
mod v2;
mod v3;
mod storage;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::middleware::{self, Next};
use axum::response::Response;
use tokio_util::sync::CancellationToken;
use tonic::Status;
use tonic::codec::CompressionEncoding;
use tonic::service::Routes;
use tonic_health::ServingStatus;

use super::adjust::Adjuster;
use super::protocol;
use super::protocol::api_v2::query_service_server::QueryServiceServer as QueryServiceV2;
use super::protocol::api_v3::query_service_server::QueryServiceServer as QueryServiceV3;
use super::protocol::storage::capabilities_server::CapabilitiesServer;
use super::protocol::storage::dependency_reader_server::DependencyReaderServer;
use super::protocol::storage::trace_reader_server::TraceReaderServer;
use crate::ingest::Ingest;
use watched_body::WatchedBody;

/// Maximum time to receive a request and to begin the reply.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);

/// Maximum number of requests in flight per connection.
pub(crate) const STREAMS_PER_CONNECTION: u32 = 64;

/// Maximum size of a request: thousands of trace ids.
const MAX_REQUEST: usize = 1 << 20;

/// Services that the health service reports as serving, beside the server as a whole. As in Jaeger, the metrics query service
/// is among them, although neither serves it over gRPC.
const SERVING: [&str; 6] = [
    "jaeger.api_v2.QueryService",
    "jaeger.api_v2.metrics.MetricsQueryService",
    "jaeger.api_v3.QueryService",
    "jaeger.storage.v2.TraceReader",
    "jaeger.storage.v2.DependencyReader",
    "opentelemetry.proto.collector.trace.v1.TraceService",
];

/// Returns the query services and those of a storage, with health and reflection. A Jaeger writes to the storage by the
/// services `otlp`. Health is not serving after `shutdown`.
pub(crate) async fn router(
    ingest: &Arc<Ingest>,
    adjuster: Adjuster,
    otlp: Router,
    shutdown: CancellationToken,
) -> Router {
    macro_rules! server {
        ($server:ident, $service:expr) => {
            $server::new($service)
                .accept_compressed(CompressionEncoding::Gzip)
                .accept_compressed(CompressionEncoding::Zstd)
                .max_decoding_message_size(MAX_REQUEST)
        };
    }
    let routes = Routes::new(server!(QueryServiceV2, v2::QueryService(Arc::clone(ingest), adjuster)))
        .add_service(server!(QueryServiceV3, v3::QueryService(Arc::clone(ingest), adjuster)))
        .add_service(server!(TraceReaderServer, storage::TraceReader(Arc::clone(ingest), adjuster)))
        .add_service(server!(DependencyReaderServer, storage::DependencyReader(Arc::clone(ingest))))
        .add_service(CapabilitiesServer::new(storage::Capabilities));
    let routes = add_reflection(add_health(routes, shutdown).await);
    routes.prepare().into_axum_router().merge(otlp).layer(middleware::from_fn(bounded))
}

/// Cancels a request that takes too long to be received or computed, and drops a reply whose reader stalls.
async fn bounded(request: Request, next: Next) -> Response {
    tracing::debug!("{}", request.uri().path());
    match tokio::time::timeout(REQUEST_TIMEOUT, next.run(request)).await {
        Ok(response) => response.map(|body| Body::new(WatchedBody::new(body))),
        Err(_) => {
            let seconds = REQUEST_TIMEOUT.as_secs();
            Status::deadline_exceeded(format!("no reply within {seconds} s: retry or narrow the query"))
                .into_http()
        }
    }
}

/// Adds the health service.
async fn add_health(routes: Routes, shutdown: CancellationToken) -> Routes {
    let (mut reporter, health) = tonic_health::server::health_reporter();
    for service in SERVING {
        reporter.set_service_status(service, ServingStatus::Serving).await;
    }
    tokio::spawn(async move {
        shutdown.cancelled().await;
        for service in SERVING.into_iter().chain([""]) {
            reporter.set_service_status(service, ServingStatus::NotServing).await;
            // Ends the streams that watch the service; they would delay the stop.
            reporter.clear_service_status(service).await;
        }
    });
    routes.add_service(health)
}

/// Adds both versions of the reflection service.
fn add_reflection(routes: Routes) -> Routes {
    let builder = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(protocol::DESCRIPTORS)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    };
    match (builder().build_v1(), builder().build_v1alpha()) {
        (Ok(v1), Ok(v1alpha)) => routes.add_service(v1).add_service(v1alpha),
        (Err(error), _) | (_, Err(error)) => {
            tracing::error!(%error, "gRPC reflection is not served");
            routes
        }
    }
}
