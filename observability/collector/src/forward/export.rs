//! One OTLP/gRPC call whose message is encoded already, so that attempts share it.

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

/// Sends the message. Returns how many spans of it the backend rejects.
pub(super) async fn export(channel: &Channel, message: Bytes) -> Result<u64, Status> {
    let mut client = tonic::client::Grpc::new(channel.clone());
    client.ready().await.map_err(|error| Status::unavailable(error.to_string()))?;
    let reply = client.unary(Request::new(message), METHOD, BytesCodec).await?;
    let reply = ExportTraceServiceResponse::decode(reply.into_inner())
        .map_err(|error| Status::internal(error.to_string()))?;
    let rejected = reply.partial_success.map_or(0, |partial| partial.rejected_spans);
    Ok(u64::try_from(rejected).unwrap_or(0))
}

/// Whether the backend may take the message later.
pub(super) fn is_worth_retrying(status: &Status) -> bool {
    match status.code() {
        // The codes that OTLP calls retryable, and what tonic makes of a connection that breaks off.
        Code::Cancelled
        | Code::DeadlineExceeded
        | Code::Aborted
        | Code::OutOfRange
        | Code::Unavailable
        | Code::DataLoss
        | Code::Unknown => true,
        // Only one that says when it may be tried again will ever take it.
        Code::ResourceExhausted => asked_pause(status).is_some(),
        _ => false,
    }
}

/// When the backend asks to be tried again.
pub(super) fn asked_pause(status: &Status) -> Option<Duration> {
    status.get_details_retry_info()?.retry_delay
}
