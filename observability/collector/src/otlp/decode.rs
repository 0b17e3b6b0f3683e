//! Decodes protobuf into the types of [`crate::trace`]. A field that is there twice has its last value.
//!
//! Considered: `prost`, which refuses values that are nested more than about 30 levels deep.

use std::sync::Arc;

use opentelemetry_proto::tonic::common::v1::KeyValue;
use prost::Message as _;

use super::wire::{Fields, Malformed};
use crate::trace::{
    Attribute, EntityRef, Event, Kind, Link, Resource, Scope, Span, SpanId, Status, StatusCode, TraceId,
    Value,
};

/// Decodes all spans with valid ids of an `ExportTraceServiceRequest`.
pub(super) fn spans(message: &[u8]) -> Result<Vec<Span>, Malformed> {
    let mut spans = Vec::new();
    let mut fields = Fields(message);
    while let Some((number, field)) = fields.next()? {
        if number == 1 {
            resource_spans(field.bytes()?, &mut spans)?;
        }
    }
    Ok(spans)
}

fn resource_spans(message: &[u8], spans: &mut Vec<Span>) -> Result<(), Malformed> {
    let (encoded, schema_url) = shared(message)?;
    let resource = Arc::new(resource(encoded, schema_url)?);
    let mut fields = Fields(message);
    while let Some((number, field)) = fields.next()? {
        if number != 2 {
            continue;
        }
        let message = field.bytes()?;
        let (encoded, schema_url) = shared(message)?;
        let scope = Arc::new(scope(encoded, schema_url)?);
        let mut fields = Fields(message);
        while let Some((number, field)) = fields.next()? {
            if number == 2 {
                let decoded = span(field.bytes()?, &resource, &scope)?;
                spans.extend((decoded.trace_id.0 != 0 && decoded.span_id.0 != 0).then_some(decoded));
            }
        }
    }
    Ok(())
}

/// Returns the resource or scope of a group and its schema URL, which may be encoded after the spans.
fn shared(message: &[u8]) -> Result<(&[u8], &[u8]), Malformed> {
    let (mut encoded, mut schema_url) = (&[][..], &[][..]);
    let mut fields = Fields(message);
    while let Some((number, field)) = fields.next()? {
        match number {
            1 => encoded = field.bytes()?,
            3 => schema_url = field.bytes()?,
            _ => {}
        }
    }
    Ok((encoded, schema_url))
}

/// Decodes a span. Ids and times that are absent, since the store keeps them elsewhere, are 0.
pub(crate) fn span(message: &[u8], resource: &Arc<Resource>, scope: &Arc<Scope>) -> Result<Span, Malformed> {
    let mut span = Span {
        trace_id: TraceId(0),
        span_id: SpanId(0),
        parent: None,
        name: String::new(),
        kind: Kind::Unspecified,
        unknown_kind: 0,
        start_ns: 0,
        end_ns: 0,
        attributes: Vec::new(),
        events: Vec::new(),
        links: Vec::new(),
        status: Status::default(),
        trace_state: String::new(),
        flags: 0,
        dropped: [0; 3],
        resource: Arc::clone(resource),
        scope: Arc::clone(scope),
    };
    let mut fields = Fields(message);
    while let Some((number, field)) = fields.next()? {
        match number {
            1 => span.trace_id = TraceId::from_bytes(field.bytes()?).unwrap_or(TraceId(0)),
            2 => span.span_id = SpanId::from_bytes(field.bytes()?).unwrap_or(SpanId(0)),
            3 => span.trace_state = text(field.bytes()?),
            4 => span.parent = SpanId::from_bytes(field.bytes()?),
            5 => span.name = text(field.bytes()?),
            6 => {
                let number = field.varint()? as i32;
                span.kind = kind(number);
                span.unknown_kind = if span.kind == Kind::Unspecified { number } else { 0 };
            }
            7 => span.start_ns = field.fixed64()?,
            8 => span.end_ns = field.fixed64()?,
            9 => span.attributes.push(attribute(field.bytes()?)?),
            10 => span.dropped[0] = field.varint()? as u32,
            11 => span.events.push(event(field.bytes()?)?),
            12 => span.dropped[1] = field.varint()? as u32,
            13 => span.links.push(link(field.bytes()?)?),
            14 => span.dropped[2] = field.varint()? as u32,
            15 => status(field.bytes()?, &mut span.status)?,
            16 => span.flags = field.fixed32()?,
            _ => {}
        }
    }
    Ok(span)
}

/// Decodes a resource.
pub(crate) fn resource(message: &[u8], schema_url: &[u8]) -> Result<Resource, Malformed> {
    let mut resource = Resource { schema_url: text(schema_url), ..Resource::default() };
    let mut fields = Fields(message);
    while let Some((number, field)) = fields.next()? {
        match number {
            1 => resource.attributes.push(attribute(field.bytes()?)?),
            2 => resource.dropped_attributes = field.varint()? as u32,
            3 => resource.entity_refs.push(entity_ref(field.bytes()?)?),
            _ => {}
        }
    }
    Ok(resource)
}

/// Decodes a scope.
pub(crate) fn scope(message: &[u8], schema_url: &[u8]) -> Result<Scope, Malformed> {
    let mut scope = Scope { schema_url: text(schema_url), ..Scope::default() };
    let mut fields = Fields(message);
    while let Some((number, field)) = fields.next()? {
        match number {
            1 => scope.name = text(field.bytes()?),
            2 => scope.version = text(field.bytes()?),
            3 => scope.attributes.push(attribute(field.bytes()?)?),
            4 => scope.dropped_attributes = field.varint()? as u32,
            _ => {}
        }
    }
    Ok(scope)
}

/// Converts a span kind; unknown numbers become unspecified.
pub(crate) fn kind(number: i32) -> Kind {
    match number {
        1 => Kind::Internal,
        2 => Kind::Server,
        3 => Kind::Client,
        4 => Kind::Producer,
        5 => Kind::Consumer,
        _ => Kind::Unspecified,
    }
}

/// Converts a status code; unknown numbers become unset.
pub(crate) fn status_code(number: i32) -> StatusCode {
    match number {
        1 => StatusCode::Ok,
        2 => StatusCode::Error,
        _ => StatusCode::Unset,
    }
}

/// Converts a text. Ingest has repaired texts that are not UTF-8, so nothing is replaced here.
fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn status(message: &[u8], status: &mut Status) -> Result<(), Malformed> {
    let mut fields = Fields(message);
    while let Some((number, field)) = fields.next()? {
        match number {
            2 => status.message = text(field.bytes()?),
            3 => {
                let number = field.varint()? as i32;
                status.code = status_code(number);
                status.unknown_code = if status.code == StatusCode::Unset { number } else { 0 };
            }
            _ => {}
        }
    }
    Ok(())
}

fn entity_ref(message: &[u8]) -> Result<EntityRef, Malformed> {
    let mut entity = EntityRef::default();
    let mut fields = Fields(message);
    while let Some((number, field)) = fields.next()? {
        match number {
            1 => entity.schema_url = text(field.bytes()?),
            2 => entity.kind = text(field.bytes()?),
            3 => entity.id_keys.push(text(field.bytes()?)),
            4 => entity.description_keys.push(text(field.bytes()?)),
            _ => {}
        }
    }
    Ok(entity)
}

fn event(message: &[u8]) -> Result<Event, Malformed> {
    let mut event = Event::default();
    let mut fields = Fields(message);
    while let Some((number, field)) = fields.next()? {
        match number {
            1 => event.time_ns = field.fixed64()?,
            2 => event.name = text(field.bytes()?),
            3 => event.attributes.push(attribute(field.bytes()?)?),
            4 => event.dropped_attributes = field.varint()? as u32,
            _ => {}
        }
    }
    Ok(event)
}

fn link(message: &[u8]) -> Result<Link, Malformed> {
    let mut link = Link {
        trace_id: None,
        span_id: None,
        trace_state: String::new(),
        attributes: Vec::new(),
        dropped_attributes: 0,
        flags: 0,
    };
    let mut fields = Fields(message);
    while let Some((number, field)) = fields.next()? {
        match number {
            1 => link.trace_id = TraceId::from_bytes(field.bytes()?),
            2 => link.span_id = SpanId::from_bytes(field.bytes()?),
            3 => link.trace_state = text(field.bytes()?),
            4 => link.attributes.push(attribute(field.bytes()?)?),
            5 => link.dropped_attributes = field.varint()? as u32,
            6 => link.flags = field.fixed32()?,
            _ => {}
        }
    }
    Ok(link)
}

/// Converts the attributes of a query. They come decoded, and are few.
pub(crate) fn attributes(proto: &[KeyValue]) -> Vec<Attribute> {
    proto.iter().filter_map(|attribute| self::attribute(&attribute.encode_to_vec()).ok()).collect()
}

fn attribute(message: &[u8]) -> Result<Attribute, Malformed> {
    let (mut key, mut any) = (&[][..], Value::Empty);
    let mut fields = Fields(message);
    while let Some((number, field)) = fields.next()? {
        match number {
            1 => key = field.bytes()?,
            2 => any = value(field.bytes()?)?,
            _ => {}
        }
    }
    Ok(Attribute { key: text(key), value: any })
}

fn value(message: &[u8]) -> Result<Value, Malformed> {
    let mut value = Value::Empty;
    let mut fields = Fields(message);
    while let Some((number, field)) = fields.next()? {
        value = match number {
            1 => Value::String(text(field.bytes()?)),
            2 => Value::Bool(field.varint()? != 0),
            3 => Value::Int(field.varint()? as i64),
            4 => Value::Double(f64::from_bits(field.fixed64()?)),
            5 => Value::Array(elements(field.bytes()?, self::value)?),
            6 => Value::Map(elements(field.bytes()?, attribute)?),
            7 => Value::Bytes(field.bytes()?.to_vec()),
            // An index into a string table, which exists only in profiles.
            8 => Value::Empty,
            _ => value,
        };
    }
    Ok(value)
}

/// Decodes the elements of an `ArrayValue` or a `KeyValueList`.
fn elements<T>(message: &[u8], decode: fn(&[u8]) -> Result<T, Malformed>) -> Result<Vec<T>, Malformed> {
    let mut list = Vec::new();
    let mut fields = Fields(message);
    while let Some((number, field)) = fields.next()? {
        if number == 1 {
            list.push(decode(field.bytes()?)?);
        }
    }
    Ok(list)
}
