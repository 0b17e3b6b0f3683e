//! Validates spans, resources and scopes without decoding them, so that they can be stored in encoded form, and an invalid
//! span is rejected individually.
//!
//! The depth of values and the number of parts are bounded as well.

use super::encoded::Encoded;
use super::search_terms::SearchTerms;
use crate::otlp::wire::{Field, Fields, Malformed};
use crate::otlp::{MAX_DEPTH, MAX_PARTS, text};
use crate::trace::{
    EMPTY_SERVICE, EMPTY_SPAN_NAME, Kind, MISSING_SERVICE, SERVICE_OF_WRONG_TYPE, SpanId, StatusCode,
    TraceId, Value,
};

/// Reason for rejecting a span, a resource or a scope.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Invalid {
    #[error(transparent)]
    Malformed(#[from] Malformed),
    #[error("id has the wrong length or is all zeros")]
    Id,
    #[error("values are nested more than {MAX_DEPTH} levels deep")]
    TooDeep,
    #[error("more than {MAX_PARTS} attributes, events, links and list items")]
    TooManyParts,
}

impl Invalid {
    /// Returns whether [`crate::otlp::repair`] makes the span, resource or scope valid, unless it is also malformed.
    pub(crate) fn is_repairable(self) -> bool {
        matches!(self, Self::Malformed(Malformed::NotUtf8) | Self::TooDeep | Self::TooManyParts)
    }
}

/// The fields of a span that are read without decoding it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SpanHeader<'m> {
    pub(crate) trace_id: TraceId,
    pub(crate) span_id: SpanId,
    pub(crate) parent: Option<SpanId>,
    pub(crate) name: &'m str,
    pub(crate) kind: Kind,
    pub(crate) start_ns: u64,
    pub(crate) end_ns: u64,
    pub(crate) error: bool,
    /// Number of attributes, events, links and list items.
    pub(crate) parts: usize,
}

/// Validates a span and returns its header. Appends to `body` the encoded fields that the header lacks, and also name, kind
/// and status; appends the search terms to `terms`.
pub(crate) fn span<'m>(
    message: &'m [u8],
    body: &mut Vec<u8>,
    terms: &mut SearchTerms,
) -> Result<SpanHeader<'m>, Invalid> {
    let mut walk = Walk { terms, parts: 0 };
    let (mut trace_id, mut span_id, mut parent) = (None, None, None);
    let (mut name, mut kind, mut status) = ("", 0, 0);
    let (mut start_ns, mut end_ns) = (0, 0);
    let mut fields = Fields(message);
    // Position of the first byte that is not copied yet.
    let mut uncopied = 0;
    loop {
        let at = message.len() - fields.0.len();
        let Some((number, field)) = fields.next()? else { break };
        match number {
            1 => trace_id = TraceId::from_bytes(field.bytes()?),
            2 => span_id = SpanId::from_bytes(field.bytes()?),
            4 => parent = parent_id(field.bytes()?)?,
            7 => start_ns = field.fixed64()?,
            8 => end_ns = field.fixed64()?,
            3 => drop(field.text()?),
            5 => name = field.text()?,
            6 => kind = field.varint()? as i32,
            9 => walk.attribute(field.bytes()?)?,
            10 | 12 | 14 => drop(field.varint()?),
            11 => walk.event(field.bytes()?)?,
            13 => walk.link(field.bytes()?)?,
            15 => status = walk.status(field.bytes()?)?,
            16 => drop(field.fixed32()?),
            _ => {}
        }
        if matches!(number, 1 | 2 | 4 | 7 | 8) {
            body.extend_from_slice(&message[uncopied..at]);
            uncopied = message.len() - fields.0.len();
        }
    }
    body.extend_from_slice(&message[uncopied..]);
    let (Some(trace_id), Some(span_id)) = (trace_id, span_id) else { return Err(Invalid::Id) };
    let (kind, status) = (crate::otlp::kind(kind), crate::otlp::status_code(status));
    let parts = walk.parts;
    let name = if name.is_empty() { EMPTY_SPAN_NAME } else { name };
    terms.span(name, kind, status);
    let error = status == StatusCode::Error;
    Ok(SpanHeader { trace_id, span_id, parent, name, kind, start_ns, end_ns, error, parts })
}

/// Validates a resource. Returns the name of its service, as [`Resource::service`](crate::trace::Resource::service) does, and
/// the number of its parts.
pub(crate) fn resource<'m>(
    Encoded { message, schema }: Encoded<'m>,
    terms: &mut SearchTerms,
) -> Result<(&'m str, usize), Invalid> {
    Field::Bytes(schema).text()?;
    let mut walk = Walk { terms, parts: 0 };
    let mut service = None;
    let mut fields = Fields(message);
    while let Some((number, field)) = fields.next()? {
        match number {
            1 => {
                let attribute = field.bytes()?;
                walk.attribute(attribute)?;
                // Of duplicate attributes the first one counts, as in `Span::attribute`.
                if service.is_none() {
                    service = service_name(attribute)?;
                }
            }
            2 => drop(field.varint()?),
            3 => walk.entity(field.bytes()?)?,
            _ => {}
        }
    }
    let service = match service {
        None => MISSING_SERVICE,
        Some(None) => SERVICE_OF_WRONG_TYPE,
        Some(Some("")) => EMPTY_SERVICE,
        Some(Some(name)) => name,
    };
    Ok((service, walk.parts))
}

/// Validates a scope. Returns its name and the number of its parts.
pub(crate) fn scope<'m>(
    Encoded { message, schema }: Encoded<'m>,
    terms: &mut SearchTerms,
) -> Result<(&'m str, usize), Invalid> {
    Field::Bytes(schema).text()?;
    let (mut name, mut version) = ("", "");
    let mut walk = Walk { terms, parts: 0 };
    let mut fields = Fields(message);
    while let Some((number, field)) = fields.next()? {
        match number {
            1 => name = field.text()?,
            2 => version = field.text()?,
            3 => walk.attribute(field.bytes()?)?,
            4 => drop(field.varint()?),
            _ => {}
        }
    }
    let parts = walk.parts;
    terms.scope(name, version);
    Ok((name, parts))
}

/// Returns the value if the attribute is `service.name`; `Some(None)` if that is not a text.
fn service_name(attribute: &[u8]) -> Result<Option<Option<&str>>, Invalid> {
    let (mut named, mut value) = (false, None);
    let mut fields = Fields(attribute);
    while let Some((number, field)) = fields.next()? {
        match number {
            1 => named = field.bytes()? == b"service.name",
            2 => {
                let mut fields = Fields(field.bytes()?);
                while let Some((number, field)) = fields.next()? {
                    value = if number == 1 { Some(field.text()?) } else { None };
                }
            }
            _ => {}
        }
    }
    Ok(named.then_some(value))
}

/// Returns `None` for an empty id and for all zeros: both mean a root.
fn parent_id(bytes: &[u8]) -> Result<Option<SpanId>, Invalid> {
    if bytes.is_empty() || bytes.len() == 8 { Ok(SpanId::from_bytes(bytes)) } else { Err(Invalid::Id) }
}

/// Visits the parts of a span, a resource or a scope.
struct Walk<'t> {
    terms: &'t mut SearchTerms,
    parts: usize,
}

impl Walk<'_> {
    fn part(&mut self) -> Result<(), Invalid> {
        self.parts += 1;
        if self.parts > MAX_PARTS { Err(Invalid::TooManyParts) } else { Ok(()) }
    }

    fn event(&mut self, message: &[u8]) -> Result<(), Invalid> {
        self.part()?;
        let mut fields = Fields(message);
        while let Some((number, field)) = fields.next()? {
            match number {
                1 => drop(field.fixed64()?),
                2 => drop(field.text()?),
                3 => self.attribute(field.bytes()?)?,
                4 => drop(field.varint()?),
                _ => {}
            }
        }
        Ok(())
    }

    fn link(&mut self, message: &[u8]) -> Result<(), Invalid> {
        self.part()?;
        let mut fields = Fields(message);
        while let Some((number, field)) = fields.next()? {
            match number {
                1 | 2 => drop(field.bytes()?),
                3 => drop(field.text()?),
                4 => self.attribute(field.bytes()?)?,
                5 => drop(field.varint()?),
                6 => drop(field.fixed32()?),
                _ => {}
            }
        }
        Ok(())
    }

    fn status(&mut self, message: &[u8]) -> Result<i32, Invalid> {
        let mut code = 0;
        let mut fields = Fields(message);
        while let Some((number, field)) = fields.next()? {
            match number {
                2 => drop(field.text()?),
                3 => code = field.varint()? as i32,
                _ => {}
            }
        }
        Ok(code)
    }

    fn entity(&mut self, message: &[u8]) -> Result<(), Invalid> {
        self.part()?;
        let mut fields = Fields(message);
        while let Some((number, field)) = fields.next()? {
            match number {
                1 | 2 => drop(field.text()?),
                3 | 4 => {
                    self.part()?;
                    field.text()?;
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Visits an attribute that can be searched for.
    fn attribute(&mut self, message: &[u8]) -> Result<(), Invalid> {
        let (key, value) = self.key_value(message, 0)?;
        match value {
            Leaf::None => self.terms.attribute(key, ""),
            Leaf::Text(value) => self.terms.attribute(key, value),
            Leaf::Bool(true) => self.terms.attribute(key, "true"),
            Leaf::Bool(false) => self.terms.attribute(key, "false"),
            Leaf::Int(number) => self.terms.attribute(key, itoa::Buffer::new().format(number)),
            Leaf::Double(number) => self.terms.attribute(key, &text::as_text(&Value::Double(number))),
            Leaf::Compound => self.terms.compound(key),
        }
        Ok(())
    }

    fn key_value<'m>(&mut self, message: &'m [u8], depth: usize) -> Result<(&'m str, Leaf<'m>), Invalid> {
        self.part()?;
        let (mut key, mut value) = ("", Leaf::None);
        let mut fields = Fields(message);
        while let Some((number, field)) = fields.next()? {
            match number {
                1 => key = field.text()?,
                2 => value = self.any_value(field.bytes()?, depth)?,
                3 => drop(field.varint()?),
                _ => {}
            }
        }
        Ok((key, value))
    }

    fn any_value<'m>(&mut self, message: &'m [u8], depth: usize) -> Result<Leaf<'m>, Invalid> {
        let mut value = Leaf::None;
        let mut fields = Fields(message);
        while let Some((number, field)) = fields.next()? {
            value = match number {
                1 => Leaf::Text(field.text()?),
                2 => Leaf::Bool(field.varint()? != 0),
                3 => Leaf::Int(field.varint()? as i64),
                4 => Leaf::Double(f64::from_bits(field.fixed64()?)),
                5 => self.list(field.bytes()?, depth)?,
                6 => self.map(field.bytes()?, depth)?,
                7 => field.bytes().map(|_| Leaf::Compound)?,
                8 => field.varint().map(|_| Leaf::None)?,
                _ => value,
            };
        }
        Ok(value)
    }

    fn list<'m>(&mut self, message: &[u8], depth: usize) -> Result<Leaf<'m>, Invalid> {
        check_depth(depth)?;
        let mut fields = Fields(message);
        while let Some((number, field)) = fields.next()? {
            if number == 1 {
                self.part()?;
                self.any_value(field.bytes()?, depth + 1)?;
            }
        }
        Ok(Leaf::Compound)
    }

    fn map<'m>(&mut self, message: &[u8], depth: usize) -> Result<Leaf<'m>, Invalid> {
        check_depth(depth)?;
        let mut fields = Fields(message);
        while let Some((number, field)) = fields.next()? {
            if number == 1 {
                self.key_value(field.bytes()?, depth + 1)?;
            }
        }
        Ok(Leaf::Compound)
    }
}

fn check_depth(depth: usize) -> Result<(), Invalid> {
    if depth < MAX_DEPTH { Ok(()) } else { Err(Invalid::TooDeep) }
}

/// A value whose text is cheap to compute; `Compound` represents bytes, lists and maps.
#[derive(Debug, Clone, Copy)]
enum Leaf<'m> {
    None,
    Text(&'m str),
    Bool(bool),
    Int(i64),
    Double(f64),
    Compound,
}

#[cfg(test)]
mod tests;
