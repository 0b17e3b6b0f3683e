//! Whether a span, a resource or a scope will decode, found out without decoding it, so that what is kept can be kept as
//! it came, and one bad span is refused alone.
//!
//! What passes is also small to work with: how deep values nest and how many parts there are is bounded, for a part
//! of two bytes on the wire takes some seventy when decoded.

use crate::otlp::text;
use crate::otlp::wire::{Fields, Malformed};
use crate::store::Tokens;
use crate::trace::{Kind, SpanId, StatusCode, TraceId, Value};

/// How deep lists and maps may nest. In JSON a map takes four levels, a span itself ten, and its readers stop at 128.
pub(crate) const MAX_DEPTH: usize = 24;

/// Attributes, events, links and items of lists, of one span, resource or scope.
pub(crate) const MAX_PARTS: usize = 20_000;

/// Bytes of a resource or a scope: the spans that share it cost only themselves, so it must not be what is large.
pub(crate) const MAX_ORIGIN: usize = 64 << 10;

/// Bytes of the resources and scopes of a message, each counted once for every group of spans: a resource is named once, and
/// may have any number of scopes.
pub(crate) const MAX_ORIGINS: usize = 16 << 20;

/// What is known of a span without decoding it, and where the rest of it lies.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Head<'m> {
    pub(crate) trace_id: TraceId,
    pub(crate) span_id: SpanId,
    pub(crate) parent: Option<SpanId>,
    pub(crate) name: &'m str,
    pub(crate) kind: Kind,
    pub(crate) start_ns: u64,
    pub(crate) end_ns: u64,
    pub(crate) error: bool,
    /// Attributes, events, links and items of lists.
    pub(crate) parts: usize,
}

/// Reads a span's head; copies the fields that are not in it (but for name, kind and status, which are in both) to
/// `body`, and puts what can be searched for into `tokens`.
pub(crate) fn span<'m>(
    message: &'m [u8],
    body: &mut Vec<u8>,
    tokens: &mut Tokens,
) -> Result<Head<'m>, Malformed> {
    let mut walk = Walk { tokens, parts: 0 };
    let (mut trace_id, mut span_id, mut parent) = (None, None, None);
    let (mut name, mut kind, mut status) = ("", 0, 0);
    let (mut start_ns, mut end_ns) = (0, 0);
    let mut fields = Fields(message);
    // The first byte that is still to be copied.
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
    let (Some(trace_id), Some(span_id)) = (trace_id, span_id) else { return Err(Malformed::Id) };
    let (kind, status) = (crate::otlp::kind(kind), crate::otlp::status_code(status));
    let parts = walk.parts;
    tokens.span(name, kind, status);
    let error = status == StatusCode::Error;
    Ok(Head { trace_id, span_id, parent, name, kind, start_ns, end_ns, error, parts })
}

/// Checks a resource. Returns its `service.name`, if that is a text and not empty.
pub(crate) fn resource<'m>(message: &'m [u8], tokens: &mut Tokens) -> Result<Option<&'m str>, Malformed> {
    within_origin(message)?;
    let mut walk = Walk { tokens, parts: 0 };
    let mut service = None;
    let mut fields = Fields(message);
    while let Some((number, field)) = fields.next()? {
        match number {
            1 => {
                let attribute = field.bytes()?;
                walk.attribute(attribute)?;
                // Of two attributes of one name the first counts, as everywhere.
                if service.is_none() {
                    service = service_name(attribute)?;
                }
            }
            2 => drop(field.varint()?),
            3 => walk.entity(field.bytes()?)?,
            _ => {}
        }
    }
    Ok(service.flatten().filter(|name| !name.is_empty()))
}

/// Checks a scope. Returns its name.
pub(crate) fn scope<'m>(message: &'m [u8], tokens: &mut Tokens) -> Result<&'m str, Malformed> {
    within_origin(message)?;
    let (mut name, mut version) = ("", "");
    let mut walk = Walk { tokens, parts: 0 };
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
    tokens.scope(name, version);
    Ok(name)
}

fn within_origin(message: &[u8]) -> Result<(), Malformed> {
    if message.len() > MAX_ORIGIN { Err(Malformed::LongOrigin) } else { Ok(()) }
}

/// `Some(None)` if the attribute is a `service.name` that is no text.
fn service_name(attribute: &[u8]) -> Result<Option<Option<&str>>, Malformed> {
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

/// Empty means that there is none; senders that write zeros mean the same.
fn parent_id(bytes: &[u8]) -> Result<Option<SpanId>, Malformed> {
    if bytes.is_empty() || bytes.len() == 8 { Ok(SpanId::from_bytes(bytes)) } else { Err(Malformed::Id) }
}

/// Goes through what a span, a resource or a scope holds.
struct Walk<'t> {
    tokens: &'t mut Tokens,
    parts: usize,
}

impl Walk<'_> {
    fn part(&mut self) -> Result<(), Malformed> {
        self.parts += 1;
        if self.parts > MAX_PARTS { Err(Malformed::TooMany) } else { Ok(()) }
    }

    fn event(&mut self, message: &[u8]) -> Result<(), Malformed> {
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

    fn link(&mut self, message: &[u8]) -> Result<(), Malformed> {
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

    fn status(&mut self, message: &[u8]) -> Result<i32, Malformed> {
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

    fn entity(&mut self, message: &[u8]) -> Result<(), Malformed> {
        self.part()?;
        let mut fields = Fields(message);
        while let Some((number, field)) = fields.next()? {
            if (1..=4).contains(&number) {
                self.part()?;
                field.text()?;
            }
        }
        Ok(())
    }

    /// An attribute that a search may name.
    fn attribute(&mut self, message: &[u8]) -> Result<(), Malformed> {
        let (key, value) = self.key_value(message, 0)?;
        match value {
            Leaf::None => self.tokens.attribute(key, ""),
            Leaf::Text(value) => self.tokens.attribute(key, value),
            Leaf::Bool(true) => self.tokens.attribute(key, "true"),
            Leaf::Bool(false) => self.tokens.attribute(key, "false"),
            Leaf::Int(number) => self.tokens.attribute(key, itoa::Buffer::new().format(number)),
            Leaf::Double(number) => self.tokens.attribute(key, &text::as_text(&Value::Double(number))),
            Leaf::Compound => self.tokens.compound(key),
        }
        Ok(())
    }

    fn key_value<'m>(&mut self, message: &'m [u8], depth: usize) -> Result<(&'m str, Leaf<'m>), Malformed> {
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

    fn any_value<'m>(&mut self, message: &'m [u8], depth: usize) -> Result<Leaf<'m>, Malformed> {
        if depth > MAX_DEPTH {
            return Err(Malformed::TooDeep);
        }
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

    fn list<'m>(&mut self, message: &[u8], depth: usize) -> Result<Leaf<'m>, Malformed> {
        let mut fields = Fields(message);
        while let Some((number, field)) = fields.next()? {
            if number == 1 {
                self.part()?;
                self.any_value(field.bytes()?, depth + 1)?;
            }
        }
        Ok(Leaf::Compound)
    }

    fn map<'m>(&mut self, message: &[u8], depth: usize) -> Result<Leaf<'m>, Malformed> {
        let mut fields = Fields(message);
        while let Some((number, field)) = fields.next()? {
            if number == 1 {
                self.key_value(field.bytes()?, depth + 1)?;
            }
        }
        Ok(Leaf::Compound)
    }
}

/// A value as far as its text is cheap to make; that of the rest (bytes, lists, maps) is made when it is asked for.
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
