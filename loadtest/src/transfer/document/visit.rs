//! The serde visitors of each document format, which pass on one element after another.

use std::fmt;

use collector::UiTrace;
use collector::otlp::ResourceSpans;
use collector::trace::Trace;
use serde::Deserialize as _;
use serde::de::value::MapAccessDeserializer;
use serde::de::{
    self, DeserializeSeed, Deserializer, IgnoredAny, IntoDeserializer as _, MapAccess, SeqAccess, Visitor,
};

use super::{DocumentPart, PartSink};

/// Number of spans converted to a `ResourceSpans` at a time; the conversion needs a multiple of their memory.
const SPANS_PER_PART: usize = 500;

/// The other signals of OTLP, which one file can contain among the traces.
const OTHER_SIGNALS: [&str; 3] = ["resourceMetrics", "resourceLogs", "resourceProfiles"];

/// `{"resourceSpans":[…]}`, `{"data":[…]}`, `{"result":{…}}`, or a list of OTLP messages or of the UI's traces.
pub(super) struct Document<'a>(pub(super) PartSink<'a>);

/// An OTLP message or one of the UI's traces.
struct Element<'a>(PartSink<'a>);

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
        let first = map.next_key()?;
        members(first, map, self.0)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        while list.next_element_seed(Element(self.0))?.is_some() {}
        Ok(())
    }
}

/// Reads the members of a document from its first key on.
fn members<'de, A: MapAccess<'de>>(
    first: Option<String>,
    mut map: A,
    sink: PartSink<'_>,
) -> Result<(), A::Error> {
    let (mut is_known, mut next) = (false, first);
    while let Some(key) = next {
        match key.as_str() {
            "resourceSpans" | "resource_spans" => map.next_value_seed(ResourceSpansList(sink))?,
            "data" => map.next_value_seed(UiTraces(sink))?,
            "result" => map.next_value_seed(Document(sink))?,
            _ => _ = map.next_value::<IgnoredAny>()?,
        }
        if OTHER_SIGNALS.contains(&key.as_str()) {
            sink(DocumentPart::OtherSignal).map_err(de::Error::custom)?;
        }
        is_known |= is_document_key(&key);
        next = map.next_key()?;
    }
    if !is_known {
        return Err(de::Error::custom(format_args!("no traces: neither `resourceSpans` nor `data`")));
    }
    sink(DocumentPart::End).map_err(de::Error::custom)
}

fn is_document_key(key: &str) -> bool {
    matches!(key, "resourceSpans" | "resource_spans" | "data" | "result") || OTHER_SIGNALS.contains(&key)
}

impl<'de> DeserializeSeed<'de> for Element<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Element<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a message of OTLP JSON or a trace of Jaeger UI JSON")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let first: Option<String> = map.next_key()?;
        if first.as_deref().is_some_and(is_document_key) {
            return members(first, map, self.0);
        }
        let UiTrace(trace) = UiTrace::deserialize(MapAccessDeserializer::new(FirstKey { first, rest: map }))?;
        pass_on(trace, self.0).map_err(de::Error::custom)
    }
}

/// A map whose first key has been read already.
struct FirstKey<A> {
    first: Option<String>,
    rest: A,
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for FirstKey<A> {
    type Error = A::Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, A::Error> {
        match self.first.take() {
            Some(key) => seed.deserialize(key.into_deserializer()).map(Some),
            None => self.rest.next_key_seed(seed),
        }
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, A::Error> {
        self.rest.next_value_seed(seed)
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
            pass_on(trace, self.0).map_err(de::Error::custom)?;
        }
        Ok(())
    }
}

/// Passes on the spans of a trace and its end.
fn pass_on(trace: Trace, sink: PartSink<'_>) -> anyhow::Result<()> {
    let mut spans = trace.spans.into_iter().peekable();
    while spans.peek().is_some() {
        let some = Trace { spans: spans.by_ref().take(SPANS_PER_PART).collect() };
        for resource_spans in ResourceSpans::of(&some) {
            sink(DocumentPart::Spans(resource_spans))?;
        }
    }
    sink(DocumentPart::End)
}
