//! Spans as OTLP describes them.

use std::sync::Arc;

use super::{SpanId, TraceId};

/// Jaeger's name of a service without `service.name`.
pub(crate) const MISSING_SERVICE: &str = "missing-service-name";

/// Jaeger's name of a service whose `service.name` is empty.
pub(crate) const EMPTY_SERVICE: &str = "empty-service-name";

/// Jaeger's name of a service whose `service.name` is not a text.
pub(crate) const SERVICE_OF_WRONG_TYPE: &str = "service-name-wrong-type";

/// Jaeger's name of an operation without a name.
pub(crate) const EMPTY_SPAN_NAME: &str = "empty-span-name";

/// Latest time that Jaeger can represent, in nanoseconds since the epoch: the year 2262.
pub(crate) const LATEST_NS: u64 = i64::MAX as u64;

/// The role of a span in a call or a message.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, serde::Serialize, serde::Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Not specified.
    #[default]
    Unspecified,
    /// An operation within a process.
    Internal,
    /// The handling of a request.
    Server,
    /// A request whose reply the sender awaits.
    Client,
    /// The sending of a message whose processing the sender does not await.
    Producer,
    /// The receipt or processing of a message.
    Consumer,
}

/// A typed attribute value.
#[derive(Debug, Clone, PartialEq, Default)]
pub enum Value {
    /// No value.
    #[default]
    Empty,
    /// UTF-8 text.
    String(String),
    /// A boolean.
    Bool(bool),
    /// A signed 64-bit integer.
    Int(i64),
    /// A 64-bit float.
    Double(f64),
    /// Bytes.
    Bytes(Vec<u8>),
    /// A list.
    Array(Vec<Value>),
    /// A list of named values.
    Map(Vec<Attribute>),
}

/// A named value.
#[derive(Debug, Clone, PartialEq)]
pub struct Attribute {
    /// The name.
    pub key: String,
    /// The value.
    pub value: Value,
}

/// The outcome of a span.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum StatusCode {
    /// Not set; usual for success.
    #[default]
    Unset,
    /// Explicitly a success.
    Ok,
    /// Failed.
    Error,
}

/// The outcome of a span with a message.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Status {
    /// The outcome.
    pub code: StatusCode,
    /// Number of a code that OTLP does not define; 0 if it does.
    pub unknown_code: i32,
    /// The error message; empty otherwise.
    pub message: String,
}

/// An event at a point in time within a span.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Event {
    /// Time in nanoseconds since the epoch.
    pub time_ns: u64,
    /// Name of the event.
    pub name: String,
    /// Attributes of the event.
    pub attributes: Vec<Attribute>,
    /// Number of attributes that the sender dropped.
    pub dropped_attributes: u32,
}

/// A reference to a span other than the parent, in this trace or another.
#[derive(Debug, Clone, PartialEq)]
pub struct Link {
    /// The trace of the linked span; `None` if the sender gave no valid id.
    pub trace_id: Option<TraceId>,
    /// The linked span; `None` if the sender gave no valid id.
    pub span_id: Option<SpanId>,
    /// W3C `tracestate` of the linked span.
    pub trace_state: String,
    /// Attributes of the link.
    pub attributes: Vec<Attribute>,
    /// Number of attributes that the sender dropped.
    pub dropped_attributes: u32,
    /// OTLP's flags.
    pub flags: u32,
}

/// The entity that produced a span, usually a process.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Resource {
    /// Attributes, among them `service.name`.
    pub attributes: Vec<Attribute>,
    /// Number of attributes that the sender dropped.
    pub dropped_attributes: u32,
    /// Schema URL of the attributes; often empty.
    pub schema_url: String,
    /// Entities that the attributes describe.
    pub entity_refs: Vec<EntityRef>,
}

/// An entity that takes part in a resource, such as the service or the host.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct EntityRef {
    /// Schema URL of the entity; often empty.
    pub schema_url: String,
    /// OTLP's `type`, such as `service`.
    pub kind: String,
    /// Keys of the resource's attributes that identify the entity.
    pub id_keys: Vec<String>,
    /// Keys of the resource's attributes that describe the entity.
    pub description_keys: Vec<String>,
}

/// The instrumentation scope that produced a span, usually a library.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Scope {
    /// Name of the scope.
    pub name: String,
    /// Version of the scope.
    pub version: String,
    /// Further attributes.
    pub attributes: Vec<Attribute>,
    /// Number of attributes that the sender dropped.
    pub dropped_attributes: u32,
    /// Schema URL of the spans; often empty.
    pub schema_url: String,
}

/// An operation of one process.
#[derive(Debug, Clone, PartialEq)]
pub struct Span {
    /// Id of the trace.
    pub trace_id: TraceId,
    /// Id of the span.
    pub span_id: SpanId,
    /// Id of the parent; `None` for a root.
    pub parent: Option<SpanId>,
    /// Name as sent, possibly empty; [`operation`](Self::operation) is the name to show.
    pub name: String,
    /// Kind of the span.
    pub kind: Kind,
    /// Number of a kind that OTLP does not define; 0 if it does. Enumerations of protobuf are open, so it is kept.
    pub unknown_kind: i32,
    /// Start in nanoseconds since the epoch.
    pub start_ns: u64,
    /// End in nanoseconds since the epoch; less than the start if the clock was set back.
    pub end_ns: u64,
    /// Attributes of the span.
    pub attributes: Vec<Attribute>,
    /// Events within the span.
    pub events: Vec<Event>,
    /// Links to other spans.
    pub links: Vec<Link>,
    /// Outcome of the span.
    pub status: Status,
    /// W3C `tracestate`.
    pub trace_state: String,
    /// OTLP's flags: the low eight bits are W3C's trace flags.
    pub flags: u32,
    /// Numbers of attributes, events and links that the sender dropped.
    pub dropped: [u32; 3],
    /// The resource, shared by the spans of one process.
    pub resource: Arc<Resource>,
    /// The scope, shared by the spans of one library.
    pub scope: Arc<Scope>,
}

impl Kind {
    /// Returns the name in lower case: `server`, `client`, …
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
    /// Returns the name in lower case: `unset`, `ok`, `error`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unset => "unset",
            Self::Ok => "ok",
            Self::Error => "error",
        }
    }
}

impl Value {
    /// Returns the text of a string value.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::String(text) => Some(text),
            _ => None,
        }
    }
}

impl Resource {
    /// Returns `service.name`. If it is absent, empty or not a text, returns Jaeger's placeholder:
    /// `missing-service-name`, `empty-service-name` or `service-name-wrong-type`.
    pub fn service(&self) -> &str {
        match find(&self.attributes, "service.name") {
            None => MISSING_SERVICE,
            Some(Value::String(name)) if name.is_empty() => EMPTY_SERVICE,
            Some(Value::String(name)) => name,
            Some(_) => SERVICE_OF_WRONG_TYPE,
        }
    }
}

/// Returns the time from a start to an end; 0 if the clock was set back, or if a time lies after the year 2262, which no clock
/// shows: Jaeger's signed times are negative there.
pub(crate) fn duration_ns(start_ns: u64, end_ns: u64) -> u64 {
    if end_ns > LATEST_NS { 0 } else { end_ns.saturating_sub(start_ns) }
}

impl Span {
    /// Returns the duration; 0 if the clock was set back, and for times after the year 2262.
    pub fn duration_ns(&self) -> u64 {
        duration_ns(self.start_ns, self.end_ns)
    }

    /// Returns the name of the service.
    pub fn service(&self) -> &str {
        self.resource.service()
    }

    /// Returns the name, or Jaeger's placeholder `empty-span-name` if it is empty.
    pub fn operation(&self) -> &str {
        if self.name.is_empty() { EMPTY_SPAN_NAME } else { &self.name }
    }

    /// Returns the first attribute with this key.
    pub fn attribute(&self, key: &str) -> Option<&Value> {
        find(&self.attributes, key)
    }

    /// Returns whether the status is an error.
    pub fn is_error(&self) -> bool {
        self.status.code == StatusCode::Error
    }
}

fn find<'a>(attributes: &'a [Attribute], key: &str) -> Option<&'a Value> {
    attributes.iter().find(|attribute| attribute.key == key).map(|attribute| &attribute.value)
}
