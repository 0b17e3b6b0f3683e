//! A span as OTLP describes it, and a trace as the spans that share an id.
//!
//! Times are nanoseconds since the Unix epoch. Nothing a sender said is dropped or reordered here.

mod id;

use std::collections::HashMap;
use std::sync::Arc;

pub use id::{ParseIdError, SpanId, TraceId};

/// OpenTelemetry's own word for a process that gave no `service.name`.
pub(crate) const UNKNOWN_SERVICE: &str = "unknown_service";

/// What a span says about who waits for whom.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, serde::Serialize, serde::Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// The sender did not say.
    #[default]
    Unspecified,
    /// Work within a process.
    Internal,
    /// A request served.
    Server,
    /// A request made and waited for.
    Client,
    /// A message sent; nobody waits for what comes of it.
    Producer,
    /// A message received or processed.
    Consumer,
}

/// The value of an attribute, with the type it was sent with.
#[derive(Debug, Clone, PartialEq, Default)]
pub enum Value {
    /// No value was given.
    #[default]
    Empty,
    /// UTF-8 text.
    String(String),
    /// True or false.
    Bool(bool),
    /// A signed 64-bit integer.
    Int(i64),
    /// A 64-bit float.
    Double(f64),
    /// Opaque bytes.
    Bytes(Vec<u8>),
    /// A list.
    Array(Vec<Value>),
    /// A list of named values.
    Map(Vec<Attribute>),
}

/// A named value.
#[derive(Debug, Clone, PartialEq)]
pub struct Attribute {
    /// Its name.
    pub key: String,
    /// Its value.
    pub value: Value,
}

/// The outcome of a span.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum StatusCode {
    /// Nothing was said, which is how success usually looks.
    #[default]
    Unset,
    /// Declared a success.
    Ok,
    /// Failed.
    Error,
}

/// The outcome of a span, and why.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Status {
    /// The outcome.
    pub code: StatusCode,
    /// Why it failed; empty otherwise.
    pub message: String,
}

/// Something that happened at one moment of a span.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Event {
    /// When.
    pub time_ns: u64,
    /// What.
    pub name: String,
    /// Details.
    pub attributes: Vec<Attribute>,
    /// How many attributes the sender left out.
    pub dropped_attributes: u32,
}

/// A reference to a span, of this trace or another, that is not the parent.
#[derive(Debug, Clone, PartialEq)]
pub struct Link {
    /// The trace of the span referred to; `None` if the sender gave no valid id.
    pub trace_id: Option<TraceId>,
    /// The span referred to; `None` if the sender gave no valid id.
    pub span_id: Option<SpanId>,
    /// W3C `tracestate` of the span referred to.
    pub trace_state: String,
    /// Details.
    pub attributes: Vec<Attribute>,
    /// How many attributes the sender left out.
    pub dropped_attributes: u32,
    /// OTLP's flags.
    pub flags: u32,
}

/// The process (or whatever else) that a span comes from.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Resource {
    /// What describes it, `service.name` among them.
    pub attributes: Vec<Attribute>,
    /// How many attributes the sender left out.
    pub dropped_attributes: u32,
    /// Schema of the attributes; often empty.
    pub schema_url: String,
}

/// The library that made a span.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Scope {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// What else describes it.
    pub attributes: Vec<Attribute>,
    /// How many attributes the sender left out.
    pub dropped_attributes: u32,
    /// Schema of its spans; often empty.
    pub schema_url: String,
}

/// One operation of one process.
#[derive(Debug, Clone, PartialEq)]
pub struct Span {
    /// The trace it belongs to.
    pub trace_id: TraceId,
    /// Its own id.
    pub span_id: SpanId,
    /// The span that caused it; `None` for a root.
    pub parent: Option<SpanId>,
    /// The operation.
    pub name: String,
    /// Its kind.
    pub kind: Kind,
    /// When it started.
    pub start_ns: u64,
    /// When it ended; a stepped clock can make this less than the start.
    pub end_ns: u64,
    /// Details.
    pub attributes: Vec<Attribute>,
    /// What happened in it.
    pub events: Vec<Event>,
    /// Which other spans it concerns.
    pub links: Vec<Link>,
    /// Its outcome.
    pub status: Status,
    /// W3C `tracestate`.
    pub trace_state: String,
    /// OTLP's flags: the low eight bits are W3C's trace flags.
    pub flags: u32,
    /// How many attributes, events and links the sender left out.
    pub dropped: [u32; 3],
    /// Where it comes from; shared by the spans of one process.
    pub resource: Arc<Resource>,
    /// What made it; shared by the spans of one library.
    pub scope: Arc<Scope>,
}

/// Spans of one trace, in the order in which they arrived.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Trace {
    /// The spans.
    pub spans: Vec<Span>,
}

impl Kind {
    /// The name in lower case: `server`, `client`, …; `unspecified` when the sender did not say.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unspecified => "unspecified",
            Self::Internal => "internal",
            Self::Server => "server",
            Self::Client => "client",
            Self::Producer => "producer",
            Self::Consumer => "consumer",
        }
    }
}

impl StatusCode {
    /// The name in lower case: `unset`, `ok`, `error`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unset => "unset",
            Self::Ok => "ok",
            Self::Error => "error",
        }
    }
}

impl Value {
    /// The text, if it is one.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::String(text) => Some(text),
            _ => None,
        }
    }
}

impl Resource {
    /// `service.name`, or OpenTelemetry's own word for a process that gave none.
    pub fn service(&self) -> &str {
        let name = find(&self.attributes, "service.name").and_then(Value::as_str);
        name.filter(|name| !name.is_empty()).unwrap_or(UNKNOWN_SERVICE)
    }
}

impl Span {
    /// How long it took; zero if its clock stepped back.
    pub fn duration_ns(&self) -> u64 {
        self.end_ns.saturating_sub(self.start_ns)
    }

    /// The service it ran in.
    pub fn service(&self) -> &str {
        self.resource.service()
    }

    /// The first attribute of that name.
    pub fn attribute(&self, key: &str) -> Option<&Value> {
        find(&self.attributes, key)
    }

    /// Whether its status says that it failed.
    pub fn is_error(&self) -> bool {
        self.status.code == StatusCode::Error
    }
}

impl Trace {
    /// The id of the trace; `None` if it has no spans.
    pub fn id(&self) -> Option<TraceId> {
        self.spans.first().map(|span| span.trace_id)
    }

    /// Where each span id is found; of two spans with one id, the one that arrived first.
    pub fn positions(&self) -> HashMap<SpanId, usize> {
        let mut positions = HashMap::with_capacity(self.spans.len());
        for (index, span) in self.spans.iter().enumerate() {
            positions.entry(span.span_id).or_insert(index);
        }
        positions
    }

    /// The span that everything else happened for: the earliest without a parent, and if all have one, the
    /// earliest whose parent never came. `None` for a trace without spans and for parents in a circle.
    pub fn root(&self) -> Option<usize> {
        let positions = self.positions();
        let earliest = |indices: &mut dyn Iterator<Item = usize>| {
            indices.min_by_key(|&index| self.spans[index].start_ns)
        };
        let all = 0..self.spans.len();
        earliest(&mut all.clone().filter(|&index| self.spans[index].parent.is_none())).or_else(|| {
            earliest(&mut all.filter(|&index| {
                self.spans[index].parent.is_some_and(|parent| !positions.contains_key(&parent))
            }))
        })
    }
}

fn find<'a>(attributes: &'a [Attribute], key: &str) -> Option<&'a Value> {
    attributes.iter().find(|attribute| attribute.key == key).map(|attribute| &attribute.value)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A span of trace 1: `(id, parent, start, end)`; parent 0 is none.
    pub(crate) fn span((id, parent, start_ns, end_ns): (u64, u64, u64, u64)) -> Span {
        Span {
            trace_id: TraceId(1),
            span_id: SpanId(id),
            parent: (parent != 0).then_some(SpanId(parent)),
            name: format!("operation {id}"),
            kind: Kind::Internal,
            start_ns,
            end_ns,
            attributes: Vec::new(),
            events: Vec::new(),
            links: Vec::new(),
            status: Status::default(),
            trace_state: String::new(),
            flags: 1,
            dropped: [0; 3],
            resource: Arc::default(),
            scope: Arc::default(),
        }
    }

    fn root(spans: &[(u64, u64, u64, u64)]) -> Option<usize> {
        Trace { spans: spans.iter().copied().map(span).collect() }.root()
    }

    #[test]
    fn the_root_is_the_earliest_span_without_a_parent() {
        assert_eq!(root(&[(2, 1, 0, 9), (1, 0, 5, 6), (3, 0, 4, 6)]), Some(2));
    }

    #[test]
    fn without_one_the_root_is_the_earliest_span_whose_parent_never_came() {
        assert_eq!(root(&[(3, 2, 1, 9), (2, 1, 5, 6), (4, 7, 6, 8)]), Some(1));
        assert_eq!(root(&[(1, 2, 0, 1), (2, 1, 0, 1)]), None, "parents in a circle");
        assert_eq!(root(&[]), None);
    }
}
