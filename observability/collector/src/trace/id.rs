//! Trace and span ids: integers in memory, zero-padded lower-case hex as text.

use std::fmt;
use std::str::FromStr;

/// A 128-bit trace id.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct TraceId(pub u128);

/// A 64-bit span id, unique within its trace.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct SpanId(pub u64);

/// The first 64 bits of a trace id. Related traces may share them, such as those of one load-test run; their spans can then
/// be counted apart from all others.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct TraceGroup(pub u64);

/// The text is not an id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("id must be 1 to {digits} hexadecimal digits and not zero")]
pub struct ParseIdError {
    digits: usize,
}

impl TraceId {
    /// Parses the 16 bytes of OTLP; `None` for another length or all zeros.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let id = u128::from_be_bytes(bytes.try_into().ok()?);
        (id != 0).then_some(Self(id))
    }

    /// Returns the group of the trace.
    pub fn group(self) -> TraceGroup {
        TraceGroup((self.0 >> 64) as u64)
    }

    /// Returns a pseudorandom number that depends on the id alone. Samples consist of the traces with the lowest
    /// ranks, so all samples agree.
    ///
    /// Source: the finalizer of SplitMix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number generators",
    /// 2014).
    pub(crate) fn rank(self) -> u64 {
        let mut mixed = (self.0 >> 64) as u64 ^ (self.0 as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }
}

impl SpanId {
    /// Parses the 8 bytes of OTLP; `None` for another length or all zeros.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let id = u64::from_be_bytes(bytes.try_into().ok()?);
        (id != 0).then_some(Self(id))
    }
}

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Display for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Display for TraceGroup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Debug for TraceGroup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Debug for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Debug for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Accepts ids without leading zeros, as Jaeger's API does.
impl FromStr for TraceId {
    type Err = ParseIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        parse_hex(text, 32).map(Self)
    }
}

/// Accepts ids without leading zeros, as Jaeger's API does.
impl FromStr for SpanId {
    type Err = ParseIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let id = parse_hex(text, 16)?;
        u64::try_from(id).map(Self).map_err(|_| ParseIdError { digits: 16 })
    }
}

/// Rejects zero, the first half of every 64-bit trace id.
impl FromStr for TraceGroup {
    type Err = ParseIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let id = parse_hex(text, 16)?;
        u64::try_from(id).map(Self).map_err(|_| ParseIdError { digits: 16 })
    }
}

fn parse_hex(text: &str, digits: usize) -> Result<u128, ParseIdError> {
    let error = ParseIdError { digits };
    // `from_str_radix` would accept a sign.
    if text.len() > digits || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(error);
    }
    match u128::from_str_radix(text, 16) {
        Ok(0) | Err(_) => Err(error),
        Ok(id) => Ok(id),
    }
}

impl From<TraceId> for String {
    fn from(id: TraceId) -> Self {
        id.to_string()
    }
}

impl From<SpanId> for String {
    fn from(id: SpanId) -> Self {
        id.to_string()
    }
}

impl From<TraceGroup> for String {
    fn from(group: TraceGroup) -> Self {
        group.to_string()
    }
}

impl TryFrom<String> for TraceGroup {
    type Error = ParseIdError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl TryFrom<String> for TraceId {
    type Error = ParseIdError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl TryFrom<String> for SpanId {
    type Error = ParseIdError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_print_padded_and_parse_unpadded() {
        assert_eq!(TraceId(0x11).to_string(), "00000000000000000000000000000011");
        assert_eq!(SpanId(0x11).to_string(), "0000000000000011");
        assert_eq!("11".parse(), Ok(TraceId(0x11)));
        assert_eq!("0000000000000011".parse(), Ok(SpanId(0x11)));
        assert_eq!(TraceId(7).to_string().parse(), Ok(TraceId(7)));
    }

    #[test]
    fn rejects_invalid_ids() {
        let too_long = "1".repeat(33);
        for text in ["", "0", "+1", "-1", "zz", "1 ", "0x1", too_long.as_str()] {
            assert!(text.parse::<TraceId>().is_err(), "{text:?}");
        }
        assert!("10000000000000000".parse::<SpanId>().is_err(), "17 digits");
    }

    #[test]
    fn rejects_bytes_of_another_length_and_all_zeros() {
        assert_eq!(TraceId::from_bytes(&[0; 16]), None);
        assert_eq!(TraceId::from_bytes(&[1; 8]), None);
        assert_eq!(SpanId::from_bytes(&[0; 8]), None);
        assert_eq!(SpanId::from_bytes(&[0, 0, 0, 0, 0, 0, 1, 2]), Some(SpanId(0x102)));
    }
}
