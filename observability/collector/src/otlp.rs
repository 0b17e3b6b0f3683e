//! The OTLP codec: protobuf and JSON to and from the types of [`crate::trace`].

mod limits;
pub(crate) mod wire;
pub(crate) mod text;
pub(crate) mod encoded;
mod schema;
pub(crate) mod repair;
mod json_repair;
mod decode;
mod encode;
mod from_json;
mod to_json;
mod resource_spans;
mod bytes_codec;

use opentelemetry_proto::tonic::trace::v1::TracesData;
use prost::Message as _;
use serde::de::Error as _;
use serde::{Serialize, Serializer};

use crate::trace::Trace;
use schema::EXPORT_REQUEST;
use to_json::Json;

pub use bytes_codec::BytesCodec;
pub(crate) use decode::{attributes, kind, resource, scope, span, status_code};
pub(crate) use encode::{canonical_span, resource_spans};
pub(crate) use from_json::to_protobuf as json_to_protobuf;
pub use json_repair::RepairedJson;
pub use limits::MAX_MESSAGE;
pub(crate) use limits::{MAX_DEPTH, MAX_PARTS};
pub use resource_spans::ResourceSpans;

/// Returns a trace as one line of OTLP JSON (`{"resourceSpans":[…]}`), the format of the OpenTelemetry Collector's file
/// exporter. Adjacent spans of one resource and scope share one entry.
pub fn to_json_line(trace: &Trace) -> serde_json::Result<String> {
    serde_json::to_string(&TraceJson(trace))
}

/// A trace that serializes as OTLP JSON.
pub(crate) struct TraceJson<'t>(pub(crate) &'t Trace);

impl Serialize for TraceJson<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let encoded = TracesData { resource_spans: resource_spans(self.0) }.encode_to_vec();
        Json { message: &EXPORT_REQUEST, encoded: &encoded }.serialize(serializer)
    }
}

/// Parses a line of OTLP JSON. Spans without valid ids are left out.
pub fn from_json_line(line: &str) -> serde_json::Result<Trace> {
    let (message, _) = json_to_protobuf(line.as_bytes())?;
    let spans = decode::spans(&message).map_err(serde_json::Error::custom)?;
    Ok(Trace { spans })
}

/// Returns whether a JSON document is small enough to be parsed at once: few objects take little memory.
pub(crate) fn is_within_json_limit(json: &[u8]) -> bool {
    from_json::has_at_most_parts(json, limits::MAX_JSON_PARTS)
}

#[cfg(test)]
mod tests;
