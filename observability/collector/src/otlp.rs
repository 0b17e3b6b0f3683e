//! The OTLP codec: protobuf and JSON to and from the types of [`crate::trace`].

mod limits;
pub(crate) mod wire;
pub(crate) mod text;
mod decode;
mod encode;
mod json;
mod resource_spans;
mod bytes_codec;

use opentelemetry_proto::tonic::trace::v1::TracesData;

use crate::trace::Trace;

pub use bytes_codec::BytesCodec;
pub(crate) use decode::{attributes, kind, resource, scope, span, status_code};
pub(crate) use encode::resource_spans;
pub(crate) use json::to_protobuf as json_to_protobuf;
pub use limits::MAX_MESSAGE;
pub use resource_spans::ResourceSpans;

/// Returns a trace as one line of OTLP JSON (`{"resourceSpans":[…]}`), the format of the OpenTelemetry Collector's file
/// exporter. Adjacent spans of one resource and scope share one entry.
pub fn to_json_line(trace: &Trace) -> serde_json::Result<String> {
    let data = TracesData { resource_spans: resource_spans(trace) };
    serde_json::to_string(&data)
}

/// Parses a line of OTLP JSON. Spans without valid ids are left out. A double that is not finite becomes an empty value,
/// since JSON has no notation for it.
pub fn from_json_line(line: &str) -> serde_json::Result<Trace> {
    let data: TracesData = serde_json::from_str(line)?;
    Ok(Trace { spans: decode::spans(data.resource_spans) })
}

/// Returns whether a JSON document is small enough to be parsed at once: few objects take little memory.
pub(crate) fn is_within_json_limit(json: &[u8]) -> bool {
    json::has_at_most_parts(json, limits::MAX_JSON_PARTS)
}

#[cfg(test)]
mod tests;
