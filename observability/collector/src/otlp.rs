//! OTLP in: gRPC and HTTP, protobuf and JSON, gzip or not; and OTLP JSON, the format that traces are kept in.
//!
//! A message is refused as a whole when it cannot be read (too large, truncated, of another type); a span without
//! valid ids is refused alone, and the reply says so.

mod decode;
mod encode;
mod envelope;
mod json;
mod raw;
pub(crate) mod text;
pub(crate) mod wire;

use opentelemetry_proto::tonic::trace::v1::TracesData;

use crate::trace::Trace;

pub(crate) use decode::{kind, status_code};
pub(crate) use decode::{resource, scope, span};
pub(crate) use encode::resource_spans;
pub use envelope::Envelope;
pub(crate) use json::to_protobuf as json_to_protobuf;
pub use raw::Raw;

/// Longest message accepted, before and after decompression.
pub const MAX_MESSAGE: usize = 16 << 20;

/// One trace as one line of OTLP JSON (`{"resourceSpans":[…]}`), the format of the OpenTelemetry collector's file
/// exporter. Spans of one resource and scope that follow each other share their envelope.
pub fn to_json_line(trace: &Trace) -> serde_json::Result<String> {
    let data = TracesData { resource_spans: resource_spans(trace) };
    serde_json::to_string(&data)
}

/// Reads such a line back. Spans without valid ids are left out, as they would be on arrival.
/// A double that is no finite number comes back as no value: JSON has no word for it.
pub fn from_json_line(line: &str) -> serde_json::Result<Trace> {
    let data: TracesData = serde_json::from_str(line)?;
    Ok(Trace { spans: decode::spans(data.resource_spans) })
}

/// Objects, lists and their members in a message of JSON that is read at once: the largest object, a span, takes some three
/// hundred bytes when it is read, however few it has on the wire.
const MAX_PARTS: usize = 800_000;

/// Whether a message of JSON is not much larger when it is read than its length lets one think.
pub(crate) fn has_few_objects(json: &[u8]) -> bool {
    json::has_few_parts(json, MAX_PARTS)
}

#[cfg(test)]
mod tests;
