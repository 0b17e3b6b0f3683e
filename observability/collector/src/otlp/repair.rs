//! Repairs an encoded message that is well-formed but invalid: texts that are not UTF-8, values that are nested too deep, and
//! parts beyond the maximum number. What is cut is marked and counted.

use super::encoded::{push_bytes, push_nested, push_varint};
use super::limits::{MAX_DEPTH, MAX_PARTS};
use super::schema::{ARRAY_VALUE, Field, KEY_VALUE_LIST, Kind, Message, RESOURCE, SCOPE, SPAN};
use super::wire::{self, Fields, Malformed};

/// Value in the place of a list or map that is nested too deep.
pub(super) const TOO_DEEP: &str = "(cut: nested more than 64 levels deep)";

/// Key of the entry that marks a map without its last entries.
const CUT: &str = "(cut)";

/// Maximum number of parts after a repair: less than the limit, since each list on the path to a value may need a marker.
const PARTS: usize = MAX_PARTS - 2 * (MAX_DEPTH + 1);

/// Number of repairs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Repairs {
    /// Strings in which U+FFFD replaced what is not Unicode.
    pub(crate) strings: u64,
    /// Values, attributes, events, links and list items that were cut.
    pub(crate) cuts: u64,
}

/// Returns a valid form of a span. Fails if the span is malformed, or longer than `max` bytes once repaired.
pub(crate) fn span(encoded: &[u8], max: usize, repairs: &mut Repairs) -> Result<Vec<u8>, Malformed> {
    repaired(&SPAN, encoded, max, repairs)
}

/// Returns a valid form of a resource. Fails if the resource is malformed, or longer than `max` bytes once repaired.
pub(crate) fn resource(encoded: &[u8], max: usize, repairs: &mut Repairs) -> Result<Vec<u8>, Malformed> {
    repaired(&RESOURCE, encoded, max, repairs)
}

/// Returns a valid form of a scope. Fails if the scope is malformed, or longer than `max` bytes once repaired.
pub(crate) fn scope(encoded: &[u8], max: usize, repairs: &mut Repairs) -> Result<Vec<u8>, Malformed> {
    repaired(&SCOPE, encoded, max, repairs)
}

/// Appends a text field, repaired.
pub(crate) fn push_text(out: &mut Vec<u8>, number: u32, text: &[u8], repairs: &mut Repairs) {
    let repaired = String::from_utf8_lossy(text);
    repairs.strings += u64::from(matches!(repaired, std::borrow::Cow::Owned(_)));
    push_bytes(out, number, repaired.as_bytes());
}

fn repaired(
    message: &Message,
    encoded: &[u8],
    max: usize,
    repairs: &mut Repairs,
) -> Result<Vec<u8>, Malformed> {
    let mut out = Vec::with_capacity(encoded.len());
    Repair { parts: PARTS, max, repairs }.message(message, encoded, 0, &mut out)?;
    Ok(out)
}

struct Repair<'r> {
    /// Number of parts that may follow.
    parts: usize,
    /// Maximum size of the repaired message in bytes. Markers may be longer than what they replace.
    max: usize,
    repairs: &'r mut Repairs,
}

impl Repair<'_> {
    fn message(
        &mut self,
        message: &Message,
        encoded: &[u8],
        depth: usize,
        out: &mut Vec<u8>,
    ) -> Result<(), Malformed> {
        let mut dropped: Vec<(&Field, u64)> = Vec::new();
        // Of the members of a value the last one counts, as in JSON; earlier ones are removed.
        let (start, before) = (out.len(), (self.parts, *self.repairs));
        let mut fields = Fields(encoded);
        loop {
            let rest = fields.0;
            let Some((number, value)) = fields.next()? else { break };
            let raw = &rest[..rest.len() - fields.0.len()];
            match message.field(number) {
                None => out.extend_from_slice(raw),
                Some(field) if field.repeated && self.parts == 0 => {
                    match dropped.iter_mut().find(|(known, _)| known.number == number) {
                        Some((_, count)) => *count += 1,
                        None => dropped.push((field, 1)),
                    }
                }
                Some(field) => {
                    if message.is_value {
                        out.truncate(start);
                        (self.parts, *self.repairs) = before;
                    }
                    self.parts -= usize::from(field.repeated);
                    let is_too_deep = message.is_value && depth >= MAX_DEPTH;
                    match (field.kind, value) {
                        (Kind::Text, wire::Field::Bytes(text)) => push_text(out, number, text, self.repairs),
                        (Kind::Message(_), wire::Field::Bytes(_)) if is_too_deep => {
                            push_bytes(out, 1, TOO_DEEP.as_bytes());
                            self.repairs.cuts += 1;
                        }
                        (Kind::Message(child), wire::Field::Bytes(inner)) => {
                            let depth = depth + usize::from(message.is_value);
                            push_nested(out, number, |out| self.message(child, inner, depth, out))?;
                        }
                        _ => out.extend_from_slice(raw),
                    }
                }
            }
            if out.len() > self.max {
                return Err(Malformed::TooLongRepaired);
            }
        }
        for (field, count) in dropped {
            self.repairs.cuts += count;
            mark(message, encoded, field, count, out)?;
        }
        Ok(())
    }
}

/// Marks a message without the last `count` elements of a field.
fn mark(
    message: &Message,
    encoded: &[u8],
    field: &Field,
    count: u64,
    out: &mut Vec<u8>,
) -> Result<(), Malformed> {
    if field.dropped != 0 {
        let mut known = 0;
        let mut fields = Fields(encoded);
        while let Some((number, value)) = fields.next()? {
            if number == field.dropped {
                known = value.varint()?;
            }
        }
        push_varint(out, field.dropped, (known + count).min(u32::MAX.into()));
    } else if std::ptr::eq(message, &ARRAY_VALUE) {
        push_nested(out, 1, |out| push_bytes(out, 1, format!("(cut: {count} more)").as_bytes()));
    } else if std::ptr::eq(message, &KEY_VALUE_LIST) {
        push_nested(out, 1, |out| {
            push_bytes(out, 1, CUT.as_bytes());
            push_nested(out, 2, |out| push_bytes(out, 1, format!("{count} more").as_bytes()));
        });
    }
    Ok(())
}
