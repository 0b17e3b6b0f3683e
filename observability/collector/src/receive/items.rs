//! Counts the items of a message of metrics, logs or profiles, and finds its sender's resource, without decoding the rest.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::signal::Signal;
use crate::otlp::wire::{Field, Fields, Malformed};

/// A field on the way to the items: its number in protobuf and its names in JSON.
struct Step(u32, [&'static str; 2]);

/// The fields that lead to the items; at each level one of several.
type Path = &'static [&'static [Step]];

const METRICS: Path = &[
    &[Step(1, ["resourceMetrics", "resource_metrics"])],
    &[Step(2, ["scopeMetrics", "scope_metrics"])],
    &[Step(2, ["metrics", "metrics"])],
    &[
        Step(5, ["gauge", "gauge"]),
        Step(7, ["sum", "sum"]),
        Step(9, ["histogram", "histogram"]),
        Step(10, ["exponentialHistogram", "exponential_histogram"]),
        Step(11, ["summary", "summary"]),
    ],
    &[Step(1, ["dataPoints", "data_points"])],
];

const LOGS: Path = &[
    &[Step(1, ["resourceLogs", "resource_logs"])],
    &[Step(2, ["scopeLogs", "scope_logs"])],
    &[Step(2, ["logRecords", "log_records"])],
];

const PROFILES: Path = &[
    &[Step(1, ["resourceProfiles", "resource_profiles"])],
    &[Step(2, ["scopeProfiles", "scope_profiles"])],
    &[Step(2, ["profiles", "profiles"])],
];

/// The contents of a message that are counted.
#[derive(Debug, Default)]
pub(super) struct Items {
    /// Number of data points, log records or profiles.
    pub(super) count: u64,
    /// The first resource, encoded.
    pub(super) resource: Vec<u8>,
}

fn path(signal: Signal) -> Path {
    match signal {
        Signal::Traces => &[],
        Signal::Metrics => METRICS,
        Signal::Logs => LOGS,
        Signal::Profiles => PROFILES,
    }
}

/// Counts the items of a message in protobuf.
pub(super) fn in_protobuf(signal: Signal, message: &[u8]) -> Result<Items, Malformed> {
    let of_resource = bytes_of(message, 1)?.unwrap_or_default();
    let resource = bytes_of(of_resource, 1)?.unwrap_or_default().to_vec();
    Ok(Items { count: count(message, path(signal))?, resource })
}

fn bytes_of(message: &[u8], wanted: u32) -> Result<Option<&[u8]>, Malformed> {
    let mut fields = Fields(message);
    while let Some((number, field)) = fields.next()? {
        if number == wanted {
            return field.bytes().map(Some);
        }
    }
    Ok(None)
}

fn count(message: &[u8], path: Path) -> Result<u64, Malformed> {
    let Some((steps, rest)) = path.split_first() else { return Ok(1) };
    let mut total = 0;
    let mut fields = Fields(message);
    while let Some((number, field)) = fields.next()? {
        if let Field::Bytes(bytes) = field
            && steps.iter().any(|Step(wanted, _)| *wanted == number)
        {
            total += count(bytes, rest)?;
        }
    }
    Ok(total)
}

/// Counts the items of a message in JSON.
pub(super) fn in_json(signal: Signal, message: &[u8]) -> serde_json::Result<Items> {
    // The text of items is not kept, so invalid UTF-8 needs no repair.
    let message = String::from_utf8_lossy(message);
    let mut resource = None;
    let mut deserializer = serde_json::Deserializer::from_str(&message);
    let level = Level { path: path(signal), depth: 0, resource: &mut resource };
    let count = deserializer.deserialize_map(level)?;
    deserializer.end()?;
    let resource = resource.map_or_else(Vec::new, |text| text.get().as_bytes().to_vec());
    Ok(Items { count, resource })
}

/// A value on the way to the items: an object, a list of objects, or `null`.
struct Level<'r> {
    path: Path,
    depth: usize,
    resource: &'r mut Option<Box<RawValue>>,
}

impl<'de> DeserializeSeed<'de> for Level<'_> {
    type Value = u64;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<u64, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Level<'_> {
    type Value = u64;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object, a list of objects or null")
    }

    fn visit_unit<E>(self) -> Result<u64, E> {
        Ok(0)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<u64, A::Error> {
        let Self { path, depth, resource } = self;
        let mut total = 0;
        while let Some(count) = list.next_element_seed(Level { path, depth, resource: &mut *resource })? {
            total += count;
        }
        Ok(total)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<u64, A::Error> {
        let Self { path, depth, resource } = self;
        let mut total = 0;
        while let Some(key) = object.next_key::<String>()? {
            if depth == 1 && key == "resource" && resource.is_none() {
                *resource = Some(object.next_value()?);
                continue;
            }
            match path.split_first() {
                Some((steps, rest)) if steps.iter().any(|Step(_, names)| names.contains(&&*key)) => {
                    let level = Level { path: rest, depth: depth + 1, resource: &mut *resource };
                    total += object.next_value_seed(level)?;
                }
                _ => {
                    object.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(if path.is_empty() { 1 } else { total })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_data_points_of_every_kind_in_json() {
        let json = br#"{"unknown":[1],"resourceMetrics":[null,{"resource":{"attributes":[{"key":"a"}]},"scope_metrics":[{"scope":{},
            "metrics":[{"name":"\ud800","gauge":{"dataPoints":[{},{"asDouble":"NaN"}]}},{"sum":{"data_points":[{}]}},
            {"histogram":{"dataPoints":null}},{"exponentialHistogram":{"dataPoints":[{}]}},{"summary":{"dataPoints":[{}]}}]}]}]}"#;
        let items = in_json(Signal::Metrics, json).unwrap();
        assert_eq!(items.count, 5);
        assert_eq!(items.resource, br#"{"attributes":[{"key":"a"}]}"#);
        let logs =
            br#"{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"body":{"stringValue":"x"}},{}]},{}]}]}"#;
        assert_eq!(in_json(Signal::Logs, logs).unwrap().count, 2);
        assert_eq!(in_json(Signal::Logs, b"{\"resourceLogs\":[{\"x\":\"\xff\"}]}").unwrap().count, 0);
        for refused in [&b"[]"[..], b"null", b"{}{}", br#"{"resourceLogs":7}"#, b"{"] {
            assert!(in_json(Signal::Logs, refused).is_err(), "{refused:?}");
        }
    }
}
