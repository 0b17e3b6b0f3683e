//! Spans as OTLP describes them.

use std::sync::Arc;

use super::{SpanId, TraceId};

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

fn find<'a>(attributes: &'a [Attribute], key: &str) -> Option<&'a Value> {
    attributes.iter().find(|attribute| attribute.key == key).map(|attribute| &attribute.value)
}
