//! Walks an encoded `ExportTraceServiceRequest` in place.

use super::exporter_losses::{self, LossReport};
use crate::otlp::wire::{Fields, Malformed};
use crate::store::validate::Invalid;
use crate::store::{Encoded, SpanBatch};

/// The contents of a message other than the valid spans.
#[derive(Debug, Default)]
pub(super) struct ReadOutcome {
    /// Spans that exporters report as dropped.
    pub(super) reports: Vec<LossReport>,
    /// Number of invalid spans, and why the first one is invalid.
    pub(super) rejected: Option<(u64, Invalid)>,
}

/// A part of a message, in the order of the message.
#[derive(Clone, Copy)]
enum MessagePart<'m> {
    /// A resource and scope, followed by this number of spans.
    Group { resource: Encoded<'m>, scope: Encoded<'m>, spans: u64 },
    /// A span of the current group.
    Span(&'m [u8]),
}

/// Passes the valid spans to `insert` in batches. Fails before the first batch if the message is truncated or malformed, since
/// its spans cannot be located then.
pub(super) fn read<'m>(
    message: &'m [u8],
    batch: SpanBatch<'m>,
    insert: impl FnMut(&SpanBatch<'m>),
) -> Result<ReadOutcome, Malformed> {
    walk(message, &mut |_| {})?;
    let mut reading = Reading { batch, group_is_invalid: false, outcome: ReadOutcome::default(), insert };
    walk(message, &mut |part| reading.part(part))?;
    (reading.insert)(&reading.batch);
    Ok(reading.outcome)
}

struct Reading<'m, K> {
    batch: SpanBatch<'m>,
    /// Whether the current resource or scope is invalid, and the group's spans are rejected with it.
    group_is_invalid: bool,
    outcome: ReadOutcome,
    insert: K,
}

impl<'m, K: FnMut(&SpanBatch<'m>)> Reading<'m, K> {
    fn part(&mut self, part: MessagePart<'m>) {
        match part {
            MessagePart::Group { resource, scope, spans } => {
                let begun = self.batch.begin_group(resource, scope);
                self.group_is_invalid = begun.is_err();
                if let Err(error) = begun {
                    self.reject(spans, error);
                }
            }
            MessagePart::Span(_) if self.group_is_invalid => {}
            MessagePart::Span(span) => self.span(span),
        }
    }

    fn span(&mut self, span: &'m [u8]) {
        if let Some(report) = exporter_losses::report(self.batch.service(), self.batch.scope(), span) {
            self.outcome.reports.push(report);
        } else if let Err(error) = self.batch.push(span) {
            self.reject(1, error);
        } else if self.batch.is_full() {
            (self.insert)(&self.batch);
            self.batch.clear_spans();
        }
    }

    fn reject(&mut self, spans: u64, error: Invalid) {
        self.outcome.rejected.get_or_insert((0, error)).0 += spans;
    }
}

fn walk<'m>(message: &'m [u8], each: &mut impl FnMut(MessagePart<'m>)) -> Result<(), Malformed> {
    let mut fields = Fields(message);
    while let Some((number, field)) = fields.next()? {
        if number == 1 {
            resource_spans(field.bytes()?, each)?;
        }
    }
    Ok(())
}

fn resource_spans<'m>(message: &'m [u8], each: &mut impl FnMut(MessagePart<'m>)) -> Result<(), Malformed> {
    let mut resource = Encoded::default();
    let mut fields = Fields(message);
    while let Some((number, field)) = fields.next()? {
        match number {
            1 => resource.message = field.bytes()?,
            3 => resource.schema = field.text()?,
            _ => {}
        }
    }
    // A second pass, since the resource may be encoded after the spans.
    let mut fields = Fields(message);
    while let Some((number, field)) = fields.next()? {
        if number == 2 {
            scope_spans(resource, field.bytes()?, each)?;
        }
    }
    Ok(())
}

fn scope_spans<'m>(
    resource: Encoded<'m>,
    message: &'m [u8],
    each: &mut impl FnMut(MessagePart<'m>),
) -> Result<(), Malformed> {
    let mut scope = Encoded::default();
    let mut spans = 0;
    let mut fields = Fields(message);
    while let Some((number, field)) = fields.next()? {
        match number {
            1 => scope.message = field.bytes()?,
            2 => spans += field.bytes().map(|_| 1)?,
            3 => scope.schema = field.text()?,
            _ => {}
        }
    }
    if spans == 0 {
        return Ok(());
    }
    each(MessagePart::Group { resource, scope, spans });
    let mut fields = Fields(message);
    while let Some((number, field)) = fields.next()? {
        if number == 2 {
            each(MessagePart::Span(field.bytes()?));
        }
    }
    Ok(())
}
