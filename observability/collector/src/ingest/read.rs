//! An encoded `ExportTraceServiceRequest`, taken apart in place.

use super::loss::{self, Report};
use crate::otlp::wire::{Fields, Malformed};
use crate::store::{Batch, Described};

/// What a message holds beside the spans to keep.
#[derive(Debug, Default)]
pub(super) struct Rest {
    /// What exporters say they lost.
    pub(super) reports: Vec<Report>,
    /// How many spans are not what they should be, and what is wrong with the first.
    pub(super) rejected: Option<(u64, Malformed)>,
}

/// What a message consists of, in its order.
#[derive(Clone, Copy)]
enum Part<'m> {
    /// So many spans of one resource and scope follow.
    Origin { resource: Described<'m>, scope: Described<'m>, spans: u64 },
    /// One of them.
    Span(&'m [u8]),
}

/// Hands the spans to `keep`, a part of a long message at a time. Fails before the first when the message breaks off, or is
/// something else: what its spans are cannot be told then.
pub(super) fn read<'m>(
    message: &'m [u8],
    batch: Batch<'m>,
    keep: impl FnMut(&Batch<'m>),
) -> Result<Rest, Malformed> {
    walk(message, &mut |_| {})?;
    let mut reading = Reading { batch, is_malformed: false, rest: Rest::default(), keep };
    walk(message, &mut |part| reading.part(part))?;
    (reading.keep)(&reading.batch);
    Ok(reading.rest)
}

struct Reading<'m, K> {
    batch: Batch<'m>,
    /// Whether the spans' resource or scope is, and they were rejected with it.
    is_malformed: bool,
    rest: Rest,
    keep: K,
}

impl<'m, K: FnMut(&Batch<'m>)> Reading<'m, K> {
    fn part(&mut self, part: Part<'m>) {
        match part {
            Part::Origin { resource, scope, spans } => {
                let begun = self.batch.group(resource, scope);
                self.is_malformed = begun.is_err();
                if let Err(why) = begun {
                    self.reject(spans, why);
                }
            }
            Part::Span(_) if self.is_malformed => {}
            Part::Span(span) => self.span(span),
        }
    }

    fn span(&mut self, span: &'m [u8]) {
        if let Some(report) = loss::report(self.batch.service(), self.batch.scope(), span) {
            self.rest.reports.push(report);
        } else if let Err(why) = self.batch.push(span) {
            self.reject(1, why);
        } else if self.batch.is_full() {
            (self.keep)(&self.batch);
            self.batch.go_on();
        }
    }

    fn reject(&mut self, spans: u64, why: Malformed) {
        self.rest.rejected.get_or_insert((0, why)).0 += spans;
    }
}

fn walk<'m>(message: &'m [u8], each: &mut impl FnMut(Part<'m>)) -> Result<(), Malformed> {
    let mut fields = Fields(message);
    while let Some((number, field)) = fields.next()? {
        if number == 1 {
            resource_spans(field.bytes()?, each)?;
        }
    }
    Ok(())
}

fn resource_spans<'m>(message: &'m [u8], each: &mut impl FnMut(Part<'m>)) -> Result<(), Malformed> {
    let mut resource = Described::default();
    let mut fields = Fields(message);
    while let Some((number, field)) = fields.next()? {
        match number {
            1 => resource.message = field.bytes()?,
            3 => resource.schema = field.text()?,
            _ => {}
        }
    }
    // Once more: what describes the spans may stand behind them.
    let mut fields = Fields(message);
    while let Some((number, field)) = fields.next()? {
        if number == 2 {
            scope_spans(resource, field.bytes()?, each)?;
        }
    }
    Ok(())
}

fn scope_spans<'m>(
    resource: Described<'m>,
    message: &'m [u8],
    each: &mut impl FnMut(Part<'m>),
) -> Result<(), Malformed> {
    let mut scope = Described::default();
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
    each(Part::Origin { resource, scope, spans });
    let mut fields = Fields(message);
    while let Some((number, field)) = fields.next()? {
        if number == 2 {
            each(Part::Span(field.bytes()?));
        }
    }
    Ok(())
}
