//! Clients of Jaeger's gRPC services, generated from the same files as the services.

use std::time::Duration;

use opentelemetry_proto::tonic::trace::v1::TracesData;
use prost_types::Timestamp;
use tonic::transport::{Channel, Endpoint};
use tonic::{Response, Status, Streaming};

use crate::support::Collector;

#[allow(clippy::all, clippy::pedantic, dead_code, unreachable_pub, reason = "generated")]
pub(crate) mod api_v2 {
    include!("generated/jaeger.api_v2.rs");
}

#[allow(clippy::all, clippy::pedantic, dead_code, unreachable_pub, reason = "generated")]
pub(crate) mod api_v3 {
    include!("generated/jaeger.api_v3.rs");
}

#[allow(clippy::all, clippy::pedantic, dead_code, unreachable_pub, reason = "generated")]
pub(crate) mod storage {
    include!("generated/jaeger.storage.v2.rs");
}

/// Connects to the query port.
pub(crate) async fn channel(collector: &Collector) -> Channel {
    let endpoint = Endpoint::from_shared(format!("http://{}", collector.query_grpc)).unwrap();
    endpoint.timeout(Duration::from_secs(60)).connect().await.unwrap()
}

/// Returns the messages of a stream, and the error that ended it.
pub(crate) async fn received<T>(reply: Result<Response<Streaming<T>>, Status>) -> (Vec<T>, Option<Status>) {
    let mut stream = match reply {
        Ok(reply) => reply.into_inner(),
        Err(status) => return (Vec::new(), Some(status)),
    };
    let mut messages = Vec::new();
    loop {
        match stream.message().await {
            Ok(Some(message)) => messages.push(message),
            Ok(None) => return (messages, None),
            Err(status) => return (messages, Some(status)),
        }
    }
}

/// Returns the messages of a stream that ended without an error.
pub(crate) async fn complete<T>(reply: Result<Response<Streaming<T>>, Status>) -> Vec<T> {
    let (messages, error) = received(reply).await;
    assert!(error.is_none(), "{error:?}");
    messages
}

/// Returns the trace and span ids in a message, as numbers.
pub(crate) fn ids(data: &TracesData) -> Vec<(u128, u64)> {
    let scopes = data.resource_spans.iter().flat_map(|of_resource| &of_resource.scope_spans);
    let id = |span: &opentelemetry_proto::tonic::trace::v1::Span| {
        (trace_id(&span.trace_id), u64::from_be_bytes(span.span_id.as_slice().try_into().unwrap()))
    };
    scopes.flat_map(|of_scope| &of_scope.spans).map(id).collect()
}

/// Converts an id of 16 bytes.
pub(crate) fn trace_id(bytes: &[u8]) -> u128 {
    u128::from_be_bytes(bytes.try_into().unwrap())
}

/// Returns a time in seconds since the epoch.
pub(crate) fn seconds(seconds: i64) -> Option<Timestamp> {
    Some(Timestamp { seconds, nanos: 0 })
}
