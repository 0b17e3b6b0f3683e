//! The fields of a trace in a file, read so that an error names the trace and the span.

use std::collections::HashMap;
use std::fmt;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::lenient::{Microseconds, Text, TimeOutOfRange};
use super::list::BoundedList;
use super::reference::InputReference;
use super::tag::InputTag;
use crate::trace::{Event, SpanId, TraceId};

/// The fields of a trace that are used. Of repeated fields the last one counts.
pub(super) struct InputTrace {
    pub(super) spans: Vec<InputSpan>,
    pub(super) processes: HashMap<String, Option<InputProcess>>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct InputProcess {
    pub(super) service_name: Option<Text>,
    #[serde(default)]
    pub(super) tags: BoundedList<InputTag>,
}

/// A span with its ids and times, and fields that may all be missing.
pub(super) struct InputSpan {
    pub(super) trace_id: TraceId,
    pub(super) span_id: SpanId,
    pub(super) start_ns: u64,
    pub(super) end_ns: u64,
    pub(super) rest: SpanFields,
}

#[derive(Default)]
pub(super) struct SpanFields {
    pub(super) operation_name: Text,
    pub(super) references: BoundedList<InputReference>,
    /// Used by Jaeger's storage backends instead of a reference.
    pub(super) parent: Option<SpanId>,
    start_time: Microseconds,
    duration: Microseconds,
    pub(super) tags: BoundedList<InputTag>,
    pub(super) logs: BoundedList<InputLog>,
    pub(super) process_id: Text,
    /// Used by Jaeger's storage backends instead of a process id.
    pub(super) process: Option<InputProcess>,
    pub(super) warnings: BoundedList<Text>,
}

/// Converted while it is parsed: a file may have millions of logs.
#[derive(Deserialize)]
#[serde(try_from = "LogFields")]
pub(super) struct InputLog(pub(super) Event);

#[derive(Deserialize)]
pub(super) struct LogFields {
    #[serde(default)]
    pub(super) timestamp: Microseconds,
    #[serde(default)]
    pub(super) fields: BoundedList<InputTag>,
}

impl<'de> Deserialize<'de> for InputTrace {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(TraceVisitor)
    }
}

struct TraceVisitor;

impl<'de> Visitor<'de> for TraceVisitor {
    type Value = InputTrace;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a trace")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<InputTrace, A::Error> {
        let (mut trace_id, mut spans, mut processes) = (None, None, None);
        while let Some(name) = fields.next_key::<String>()? {
            match name.as_str() {
                "traceID" => {
                    let read = fields.next_value().and_then(|text| id(&text));
                    trace_id = read.map_err(|error| A::Error::custom(format_args!("traceID: {error}")))?;
                }
                "spans" => spans = Some(fields.next_value_seed(Spans { trace_id })?),
                "processes" => {
                    let read = fields.next_value();
                    processes = read.map_err(|error| in_trace(trace_id, &error))?;
                }
                _ => drop(fields.next_value::<IgnoredAny>()?),
            }
        }
        let spans = spans.ok_or_else(|| in_trace(trace_id, &A::Error::missing_field("spans")))?;
        let spans = spans.into_iter().map(|span| span.of_trace(trace_id));
        let spans = spans.collect::<Result<_, String>>().map_err(A::Error::custom)?;
        Ok(InputTrace { spans, processes: processes.unwrap_or_default() })
    }
}

/// A span whose trace id may be missing.
struct UnassignedSpan {
    trace_id: Option<TraceId>,
    span_id: SpanId,
    start_ns: u64,
    end_ns: u64,
    rest: SpanFields,
}

impl UnassignedSpan {
    /// Returns the span with its trace id, or else with that of the trace that it is listed in.
    fn of_trace(self, trace_id: Option<TraceId>) -> Result<InputSpan, String> {
        let Self { span_id, start_ns, end_ns, rest, .. } = self;
        let missing = || format!("span {span_id}: traceID is missing");
        let trace_id = self.trace_id.or(trace_id).ok_or_else(missing)?;
        Ok(InputSpan { trace_id, span_id, start_ns, end_ns, rest })
    }
}

struct Spans {
    trace_id: Option<TraceId>,
}

impl<'de> DeserializeSeed<'de> for Spans {
    type Value = Vec<UnassignedSpan>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Spans {
    type Value = Vec<UnassignedSpan>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of spans")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        let mut spans = Vec::new();
        while let Some(span) =
            list.next_element_seed(SpanSeed { trace_id: self.trace_id, number: spans.len() + 1 })?
        {
            spans.push(span);
        }
        Ok(spans)
    }
}

/// Reads a span. Errors name it by its id or, before that is known, by its number in the list.
struct SpanSeed {
    trace_id: Option<TraceId>,
    number: usize,
}

impl<'de> DeserializeSeed<'de> for SpanSeed {
    type Value = UnassignedSpan;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for SpanSeed {
    type Value = UnassignedSpan;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "an object as {}", place(self.trace_id, None, self.number))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<UnassignedSpan, A::Error> {
        let (mut trace_id, mut span_id, mut rest) = (None, None, SpanFields::default());
        while let Some(name) = fields.next_key::<String>()? {
            let read = match name.as_str() {
                "traceID" => fields.next_value().and_then(|text| id(&text)).map(|id| trace_id = id),
                "spanID" => fields.next_value().and_then(|text| id(&text)).map(|id| span_id = id),
                other => rest.read(other, &mut fields),
            };
            read.map_err(|error| {
                let place = place(trace_id.or(self.trace_id), span_id, self.number);
                A::Error::custom(format_args!("{place}: {name}: {error}"))
            })?;
        }
        let place = || place(trace_id.or(self.trace_id), span_id, self.number);
        let (start_ns, end_ns) =
            rest.times().map_err(|error| A::Error::custom(format_args!("{}: {error}", place())))?;
        let span_id =
            span_id.ok_or_else(|| A::Error::custom(format_args!("{}: spanID is missing", place())))?;
        Ok(UnassignedSpan { trace_id, span_id, start_ns, end_ns, rest })
    }
}

impl SpanFields {
    fn read<'de, A: MapAccess<'de>>(&mut self, name: &str, fields: &mut A) -> Result<(), A::Error> {
        match name {
            "operationName" => self.operation_name = fields.next_value()?,
            "references" => self.references = fields.next_value()?,
            "parentSpanID" => {
                let Text(text) = fields.next_value()?;
                let is_zero = text.bytes().all(|digit| digit == b'0');
                self.parent = if is_zero { None } else { Some(text.parse().map_err(A::Error::custom)?) };
            }
            "startTime" => self.start_time = fields.next_value()?,
            "duration" => self.duration = fields.next_value()?,
            "tags" => self.tags = fields.next_value()?,
            "logs" => self.logs = fields.next_value()?,
            "processID" => self.process_id = fields.next_value()?,
            "process" => self.process = fields.next_value()?,
            "warnings" => self.warnings = fields.next_value()?,
            _ => drop(fields.next_value::<IgnoredAny>()?),
        }
        Ok(())
    }

    /// Returns start and end in nanoseconds since the epoch. A negative duration ends before the start.
    fn times(&self) -> Result<(u64, u64), TimeOutOfRange> {
        let start_ns = self.start_time.since_epoch()?;
        let end = Microseconds(self.duration.0.saturating_add(start_ns.into()));
        Ok((start_ns, end.since_epoch()?))
    }
}

/// Maximum number of characters of an invalid id in an error. A valid one has 32.
const MAX_QUOTED: usize = 40;

/// Parses an id; `None` if it is empty.
fn id<T: std::str::FromStr<Err: fmt::Display>, E: Error>(Text(text): &Text) -> Result<Option<T>, E> {
    if text.is_empty() {
        return Ok(None);
    }
    let quoted = || text.chars().take(MAX_QUOTED).collect::<String>();
    text.parse().map(Some).map_err(|error| E::custom(format_args!("{:?}: {error}", quoted())))
}

/// Adds the trace to an error.
fn in_trace<E: Error>(trace_id: Option<TraceId>, error: &E) -> E {
    match trace_id {
        Some(trace_id) => E::custom(format_args!("trace {trace_id}: {error}")),
        None => E::custom(error),
    }
}

/// Describes a span in an error: by its ids as far as they are known, or by its number in the list, from 1.
fn place(trace_id: Option<TraceId>, span_id: Option<SpanId>, number: usize) -> String {
    let span = span_id.map_or_else(|| format!("span number {number}"), |id| format!("span {id}"));
    trace_id.map_or_else(|| span.clone(), |trace_id| format!("trace {trace_id}, {span}"))
}
