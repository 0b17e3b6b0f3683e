//! The reply to an accepted message.

use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTracePartialSuccess, ExportTraceServiceResponse,
};
use prost::Message as _;
use serde_json::{Value, json};

use super::signal::Signal;

/// The part of a reply that reports the items that were not kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PartialSuccess {
    /// Number of items that were not kept.
    pub(super) rejected: i64,
    /// The reason.
    pub(super) message: String,
}

/// Returns the reply in protobuf: that of traces, since the replies of all signals have the same fields.
pub(super) fn protobuf(partial_success: Option<PartialSuccess>) -> Vec<u8> {
    let partial_success = partial_success.map(|PartialSuccess { rejected, message }| {
        ExportTracePartialSuccess { rejected_spans: rejected, error_message: message }
    });
    ExportTraceServiceResponse { partial_success }.encode_to_vec()
}

/// Returns the reply in JSON.
pub(super) fn json(signal: Signal, partial_success: Option<PartialSuccess>) -> Value {
    let Some(PartialSuccess { rejected, message }) = partial_success else { return json!({}) };
    // 64-bit integers are strings in protobuf's JSON.
    let partial = json!({ signal.rejected_items(): rejected.to_string(), "errorMessage": message });
    json!({ "partialSuccess": partial })
}
