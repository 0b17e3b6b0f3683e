//! The text form of a histogram, in files and in the API.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::{Deserializer, Serializer as _, V2DeflateSerializer};

/// Encodes a histogram as HdrHistogram V2 + DEFLATE in base64.
pub(super) fn encode(histogram: &Histogram<u32>) -> Option<String> {
    let mut bytes = Vec::new();
    V2DeflateSerializer::new().serialize(histogram, &mut bytes).ok()?;
    Some(STANDARD.encode(bytes))
}

/// Decodes a histogram; `None` if the text is invalid.
pub(super) fn decode(text: &str) -> Option<Histogram<u32>> {
    let bytes = STANDARD.decode(text).ok()?;
    Deserializer::new().deserialize(&mut bytes.as_slice()).ok()
}
