//! OTLP's messages as tables of fields. Reading JSON, writing JSON and repairing a message all follow these tables.
//!
//! Considered: the `serde` support of `opentelemetry-proto`. It refuses much of what the ProtoJSON mapping allows (fields that
//! are absent or `null`, numbers as strings, enums by name) and writes numbers that are not finite as `null`.

/// The fields of a message.
#[derive(Debug)]
pub(super) struct Message {
    /// Name in OTLP's definition.
    pub(super) name: &'static str,
    pub(super) fields: &'static [Field],
    /// Whether at most one of the fields is set: `AnyValue`, the only message that nests.
    pub(super) is_value: bool,
}

#[derive(Debug)]
pub(super) struct Field {
    pub(super) number: u32,
    /// Name in JSON.
    pub(super) name: &'static str,
    /// Name in OTLP's definition, which parsers of JSON accept too.
    pub(super) original: &'static str,
    pub(super) kind: Kind,
    pub(super) repeated: bool,
    /// Number of the field that counts dropped elements of this one; 0 if there is none.
    pub(super) dropped: u32,
}

/// The type of a field, which determines its form in JSON.
#[derive(Debug, Clone, Copy)]
pub(super) enum Kind {
    Text,
    /// Bytes as hexadecimal text: a trace or span id.
    Id,
    /// Bytes as base64.
    Bytes,
    Bool,
    Int64,
    Uint32,
    Fixed32,
    Fixed64,
    Double,
    /// An enum with the names of the numbers from 0 on.
    Enum(&'static [&'static str]),
    Message(&'static Message),
}

impl Message {
    /// Returns the field with this number.
    pub(super) fn field(&self, number: u32) -> Option<&'static Field> {
        // Most messages number their fields from 1 without gaps.
        let guess = self.fields.get((number as usize).wrapping_sub(1)).filter(|field| field.number == number);
        guess.or_else(|| self.fields.iter().find(|field| field.number == number))
    }

    /// Returns the position of the field with this name.
    pub(super) fn position(&self, name: &str) -> Option<usize> {
        self.fields.iter().position(|field| field.name == name || field.original == name)
    }
}

const fn one(number: u32, name: &'static str, original: &'static str, kind: Kind) -> Field {
    Field { number, name, original, kind, repeated: false, dropped: 0 }
}

const fn many(number: u32, name: &'static str, original: &'static str, kind: Kind, dropped: u32) -> Field {
    Field { number, name, original, kind, repeated: true, dropped }
}

const DROPPED_ATTRIBUTES: (&str, &str) = ("droppedAttributesCount", "dropped_attributes_count");

const fn dropped_attributes(number: u32) -> Field {
    one(number, DROPPED_ATTRIBUTES.0, DROPPED_ATTRIBUTES.1, Kind::Uint32)
}

/// `ExportTraceServiceRequest`, and `TracesData`, which has the same field.
pub(super) static EXPORT_REQUEST: Message = Message {
    name: "ExportTraceServiceRequest",
    fields: &[many(1, "resourceSpans", "resource_spans", Kind::Message(&RESOURCE_SPANS), 0)],
    is_value: false,
};

pub(super) static RESOURCE_SPANS: Message = Message {
    name: "ResourceSpans",
    fields: &[
        one(1, "resource", "resource", Kind::Message(&RESOURCE)),
        many(2, "scopeSpans", "scope_spans", Kind::Message(&SCOPE_SPANS), 0),
        one(3, "schemaUrl", "schema_url", Kind::Text),
    ],
    is_value: false,
};

static SCOPE_SPANS: Message = Message {
    name: "ScopeSpans",
    fields: &[
        one(1, "scope", "scope", Kind::Message(&SCOPE)),
        many(2, "spans", "spans", Kind::Message(&SPAN), 0),
        one(3, "schemaUrl", "schema_url", Kind::Text),
    ],
    is_value: false,
};

pub(super) static RESOURCE: Message = Message {
    name: "Resource",
    fields: &[
        many(1, "attributes", "attributes", Kind::Message(&KEY_VALUE), 2),
        dropped_attributes(2),
        many(3, "entityRefs", "entity_refs", Kind::Message(&ENTITY_REF), 0),
    ],
    is_value: false,
};

static ENTITY_REF: Message = Message {
    name: "EntityRef",
    fields: &[
        one(1, "schemaUrl", "schema_url", Kind::Text),
        one(2, "type", "type", Kind::Text),
        many(3, "idKeys", "id_keys", Kind::Text, 0),
        many(4, "descriptionKeys", "description_keys", Kind::Text, 0),
    ],
    is_value: false,
};

pub(super) static SCOPE: Message = Message {
    name: "InstrumentationScope",
    fields: &[
        one(1, "name", "name", Kind::Text),
        one(2, "version", "version", Kind::Text),
        many(3, "attributes", "attributes", Kind::Message(&KEY_VALUE), 4),
        dropped_attributes(4),
    ],
    is_value: false,
};

pub(super) static SPAN: Message = Message {
    name: "Span",
    fields: &[
        one(1, "traceId", "trace_id", Kind::Id),
        one(2, "spanId", "span_id", Kind::Id),
        one(3, "traceState", "trace_state", Kind::Text),
        one(4, "parentSpanId", "parent_span_id", Kind::Id),
        one(5, "name", "name", Kind::Text),
        one(6, "kind", "kind", Kind::Enum(&SPAN_KINDS)),
        one(7, "startTimeUnixNano", "start_time_unix_nano", Kind::Fixed64),
        one(8, "endTimeUnixNano", "end_time_unix_nano", Kind::Fixed64),
        many(9, "attributes", "attributes", Kind::Message(&KEY_VALUE), 10),
        dropped_attributes(10),
        many(11, "events", "events", Kind::Message(&EVENT), 12),
        one(12, "droppedEventsCount", "dropped_events_count", Kind::Uint32),
        many(13, "links", "links", Kind::Message(&LINK), 14),
        one(14, "droppedLinksCount", "dropped_links_count", Kind::Uint32),
        one(15, "status", "status", Kind::Message(&STATUS)),
        one(16, "flags", "flags", Kind::Fixed32),
    ],
    is_value: false,
};

static SPAN_KINDS: [&str; 6] = [
    "SPAN_KIND_UNSPECIFIED",
    "SPAN_KIND_INTERNAL",
    "SPAN_KIND_SERVER",
    "SPAN_KIND_CLIENT",
    "SPAN_KIND_PRODUCER",
    "SPAN_KIND_CONSUMER",
];

static EVENT: Message = Message {
    name: "Event",
    fields: &[
        one(1, "timeUnixNano", "time_unix_nano", Kind::Fixed64),
        one(2, "name", "name", Kind::Text),
        many(3, "attributes", "attributes", Kind::Message(&KEY_VALUE), 4),
        dropped_attributes(4),
    ],
    is_value: false,
};

static LINK: Message = Message {
    name: "Link",
    fields: &[
        one(1, "traceId", "trace_id", Kind::Id),
        one(2, "spanId", "span_id", Kind::Id),
        one(3, "traceState", "trace_state", Kind::Text),
        many(4, "attributes", "attributes", Kind::Message(&KEY_VALUE), 5),
        dropped_attributes(5),
        one(6, "flags", "flags", Kind::Fixed32),
    ],
    is_value: false,
};

static STATUS: Message = Message {
    name: "Status",
    fields: &[
        one(2, "message", "message", Kind::Text),
        one(3, "code", "code", Kind::Enum(&["STATUS_CODE_UNSET", "STATUS_CODE_OK", "STATUS_CODE_ERROR"])),
    ],
    is_value: false,
};

pub(super) static KEY_VALUE: Message = Message {
    name: "KeyValue",
    fields: &[one(1, "key", "key", Kind::Text), one(2, "value", "value", Kind::Message(&ANY_VALUE))],
    is_value: false,
};

/// The reference to a string table is left out: it exists only in profiles.
static ANY_VALUE: Message = Message {
    name: "AnyValue",
    fields: &[
        one(1, "stringValue", "string_value", Kind::Text),
        one(2, "boolValue", "bool_value", Kind::Bool),
        one(3, "intValue", "int_value", Kind::Int64),
        one(4, "doubleValue", "double_value", Kind::Double),
        one(5, "arrayValue", "array_value", Kind::Message(&ARRAY_VALUE)),
        one(6, "kvlistValue", "kvlist_value", Kind::Message(&KEY_VALUE_LIST)),
        one(7, "bytesValue", "bytes_value", Kind::Bytes),
    ],
    is_value: true,
};

pub(super) static ARRAY_VALUE: Message = Message {
    name: "ArrayValue",
    fields: &[many(1, "values", "values", Kind::Message(&ANY_VALUE), 0)],
    is_value: false,
};

pub(super) static KEY_VALUE_LIST: Message = Message {
    name: "KeyValueList",
    fields: &[many(1, "values", "values", Kind::Message(&KEY_VALUE), 0)],
    is_value: false,
};
