//! One OTLP/gRPC call with an encoded message, which all attempts share.

use std::time::Duration;

use bytes::Bytes;
use http::uri::PathAndQuery;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceResponse;
use prost::Message as _;
use tonic::transport::Channel;
use tonic::{Code, Request, Status};
use tonic_types::StatusExt as _;

use crate::otlp::BytesCodec;

const METHOD: PathAndQuery =
    PathAndQuery::from_static("/opentelemetry.proto.collector.trace.v1.TraceService/Export");

/// Sends the message. Returns the number of spans that the backend rejected.
pub(super) async fn export(channel: &Channel, message: Bytes) -> Result<u64, Status> {
    let mut client = tonic::client::Grpc::new(channel.clone());
    client.ready().await.map_err(|error| Status::unavailable(error.to_string()))?;
    let reply = client.unary(Request::new(message), METHOD, BytesCodec).await?;
    let reply = ExportTraceServiceResponse::decode(reply.into_inner())
        .map_err(|error| Status::internal(error.to_string()))?;
    let rejected = reply.partial_success.map_or(0, |partial| partial.rejected_spans);
    Ok(u64::try_from(rejected).unwrap_or(0))
}

/// Returns whether a later attempt may succeed.
pub(super) fn is_retryable(status: &Status) -> bool {
    match status.code() {
        // The codes that OTLP defines as retryable, and those of tonic for broken connections.
        Code::Cancelled
        | Code::DeadlineExceeded
        | Code::Aborted
        | Code::OutOfRange
        | Code::Unavailable
        | Code::DataLoss
        | Code::Unknown => true,
        // Retryable only if the backend says when to retry.
        Code::ResourceExhausted => retry_delay(status).is_some(),
        _ => false,
    }
}

/// Returns the delay that the backend requests.
pub(super) fn retry_delay(status: &Status) -> Option<Duration> {
    status.get_details_retry_info()?.retry_delay
}
