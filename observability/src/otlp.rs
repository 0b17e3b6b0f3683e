//! OTLP in: gRPC and HTTP, protobuf and JSON, gzip or not; and OTLP JSON, the format that traces are kept in.
//!
//! A message is refused as a whole when it cannot be read (too large, truncated, of another type); a span without
//! valid ids is refused alone, and the reply says so.

mod decode;
mod encode;
pub(crate) mod grpc;
pub(crate) mod http;

use opentelemetry_proto::tonic::trace::v1::TracesData;

use crate::span::Trace;

pub(crate) use decode::{kind, resource, scope, span};

/// Longest message accepted, before and after decompression.
pub const MAX_MESSAGE: usize = 16 << 20;

/// One trace as one line of OTLP JSON (`{"resourceSpans":[…]}`), the format of the OpenTelemetry collector's file
/// exporter. Spans of one resource and scope that follow each other share their envelope.
pub fn to_json_line(trace: &Trace) -> serde_json::Result<String> {
    let data = TracesData { resource_spans: encode::resource_spans(trace) };
    serde_json::to_string(&data)
}

/// Reads such a line back. Spans without valid ids are left out, as they would be on arrival.
/// A double of more than 15 digits may differ in its last one.
pub fn from_json_line(line: &str) -> serde_json::Result<Trace> {
    let data: TracesData = serde_json::from_str(line)?;
    Ok(Trace { spans: decode::spans(data.resource_spans) })
}

#[cfg(test)]
mod tests;
