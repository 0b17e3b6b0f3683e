//! The serde visitors of each document format, which pass on one element after another.

use std::fmt;

use collector::UiTrace;
use collector::otlp::ResourceSpans;
use collector::trace::Trace;
use serde::de::{self, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::{DocumentPart, PartSink};

/// Number of spans converted to a `ResourceSpans` at a time; the conversion needs a multiple of their memory.
const SPANS_PER_PART: usize = 500;

/// `{"resourceSpans":[…]}`, `{"data":[…]}`, or a list of the UI's traces.
pub(super) struct Document<'a>(pub(super) PartSink<'a>);

/// The elements of `resourceSpans`.
struct ResourceSpansList<'a>(PartSink<'a>);

/// The elements of `data`.
struct UiTraces<'a>(PartSink<'a>);

impl<'de> DeserializeSeed<'de> for Document<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Document<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("traces: `resourceSpans` of OTLP JSON, or `data` of Jaeger UI JSON")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let mut has_traces = false;
        while let Some(key) = map.next_key::<String>()? {
            match key.as_str() {
                "resourceSpans" | "resource_spans" => map.next_value_seed(ResourceSpansList(self.0))?,
                "data" => map.next_value_seed(UiTraces(self.0))?,
                _ => {
                    map.next_value::<IgnoredAny>()?;
                    continue;
                }
            }
            has_traces = true;
        }
        if !has_traces {
            return Err(de::Error::custom(format_args!("no traces: neither `resourceSpans` nor `data`")));
        }
        (self.0)(DocumentPart::End).map_err(de::Error::custom)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<(), A::Error> {
        UiTraces(self.0).visit_seq(list)
    }
}

impl<'de> DeserializeSeed<'de> for ResourceSpansList<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for ResourceSpansList<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of spans by their resources")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        while let Some(resource_spans) = list.next_element::<ResourceSpans>()? {
            (self.0)(DocumentPart::Spans(resource_spans)).map_err(de::Error::custom)?;
        }
        Ok(())
    }
}

impl<'de> DeserializeSeed<'de> for UiTraces<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for UiTraces<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of traces")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        while let Some(UiTrace(trace)) = list.next_element()? {
            let mut spans = trace.spans.into_iter().peekable();
            while spans.peek().is_some() {
                let some = Trace { spans: spans.by_ref().take(SPANS_PER_PART).collect() };
                for resource_spans in ResourceSpans::of(&some) {
                    (self.0)(DocumentPart::Spans(resource_spans)).map_err(de::Error::custom)?;
                }
            }
            (self.0)(DocumentPart::End).map_err(de::Error::custom)?;
        }
        Ok(())
    }
}
