//! Walks an encoded `ExportTraceServiceRequest` in place.

use super::exporter_losses::{self, LossReport};
use super::repaired_message::RepairedMessage;
use crate::otlp::repair::Repairs;
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
    /// Repairs without which more spans would be invalid.
    pub(super) repairs: Repairs,
}

/// A part of a message, in the order of the message.
#[derive(Clone, Copy)]
enum MessagePart<'m> {
    /// A resource and scope, followed by this number of spans.
    Group { resource: Encoded<'m>, scope: Encoded<'m>, spans: u64 },
    /// A span of the current group.
    Span(&'m [u8]),
}

/// Passes the valid spans to `insert` in batches, then the repaired ones. Fails before the first batch if the message is
/// truncated or malformed, since its spans cannot be located then.
pub(super) fn read(message: &[u8], mut insert: impl FnMut(&SpanBatch<'_>)) -> Result<ReadOutcome, Malformed> {
    walk(message, &mut |_| {})?;
    let mut reading = Reading::new(message, Some(RepairedMessage::in_place_of(message.len())), &mut insert);
    walk(message, &mut |part| reading.part(part))?;
    let (mut outcome, repaired) = reading.finish();
    if let Some((message, repairs)) = repaired.and_then(RepairedMessage::finish) {
        let mut reading = Reading::new(&message, None, &mut insert);
        walk(&message, &mut |part| reading.part(part))?;
        let (of_repaired, _) = reading.finish();
        outcome.reports.extend(of_repaired.reports);
        if let Some((spans, error)) = of_repaired.rejected {
            outcome.rejected.get_or_insert((0, error)).0 += spans;
        }
        outcome.repairs = repairs;
    }
    Ok(outcome)
}

/// Returns a message with all spans that are not malformed, each of them repaired.
pub(super) fn repaired(message: &[u8]) -> Vec<u8> {
    let mut repaired = RepairedMessage::in_place_of(message.len());
    let (mut resource, mut scope) = (Encoded::default(), Encoded::default());
    // Malformed spans are left out: a receiver would refuse the whole message.
    let walked = walk(message, &mut |part| match part {
        MessagePart::Group { resource: of_group, scope: its_scope, .. } => {
            (resource, scope) = (of_group, its_scope);
        }
        MessagePart::Span(span) => drop(repaired.push(resource, scope, span)),
    });
    debug_assert!(walked.is_ok(), "{walked:?}");
    repaired.finish().map_or_else(Vec::new, |(message, _)| message)
}

struct Reading<'m, K> {
    batch: SpanBatch<'m>,
    group: Group<'m>,
    outcome: ReadOutcome,
    /// Collects the spans that are invalid but can be repaired; `None` if they were repaired already.
    repaired: Option<RepairedMessage<'m>>,
    insert: K,
}

/// The current group of spans.
enum Group<'m> {
    Valid(Encoded<'m>, Encoded<'m>),
    /// The resource or the scope can be repaired.
    Repairable(Encoded<'m>, Encoded<'m>),
    Rejected,
}

impl<'m, K: FnMut(&SpanBatch<'_>)> Reading<'m, K> {
    fn new(message: &'m [u8], repaired: Option<RepairedMessage<'m>>, insert: K) -> Self {
        let batch = SpanBatch::with_capacity(message.len());
        Self { batch, group: Group::Rejected, outcome: ReadOutcome::default(), repaired, insert }
    }

    /// Inserts the last batch.
    fn finish(mut self) -> (ReadOutcome, Option<RepairedMessage<'m>>) {
        (self.insert)(&self.batch);
        (self.outcome, self.repaired)
    }

    fn part(&mut self, part: MessagePart<'m>) {
        match part {
            MessagePart::Group { resource, scope, spans } => {
                self.group = match self.batch.begin_group(resource, scope) {
                    Ok(()) => Group::Valid(resource, scope),
                    Err(error) if self.repairs(error) => Group::Repairable(resource, scope),
                    Err(error) => {
                        self.reject(spans, error);
                        Group::Rejected
                    }
                };
            }
            MessagePart::Span(span) => match self.group {
                Group::Valid(resource, scope) => self.span(resource, scope, span),
                Group::Repairable(resource, scope) => self.repair(resource, scope, span),
                Group::Rejected => {}
            },
        }
    }

    fn span(&mut self, resource: Encoded<'m>, scope: Encoded<'m>, span: &'m [u8]) {
        if let Some(report) = exporter_losses::report(self.batch.service(), self.batch.scope(), span) {
            self.outcome.reports.push(report);
            return;
        }
        match self.batch.push(span) {
            Ok(()) if self.batch.is_full() => {
                (self.insert)(&self.batch);
                self.batch.clear_spans();
            }
            Ok(()) => {}
            Err(error) if self.repairs(error) => self.repair(resource, scope, span),
            Err(error) => self.reject(1, error),
        }
    }

    fn repairs(&self, error: Invalid) -> bool {
        self.repaired.is_some() && error.is_repairable()
    }

    fn repair(&mut self, resource: Encoded<'m>, scope: Encoded<'m>, span: &'m [u8]) {
        let pushed = self.repaired.as_mut().map_or(Ok(()), |repaired| repaired.push(resource, scope, span));
        if let Err(error) = pushed {
            self.reject(1, error.into());
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
            3 => resource.schema = field.bytes()?,
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
            3 => scope.schema = field.bytes()?,
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
