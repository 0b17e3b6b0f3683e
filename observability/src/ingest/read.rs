//! An encoded `ExportTraceServiceRequest`, taken apart in place.

use opentelemetry_proto::tonic::trace::v1::Span;

use super::loss;
use crate::otlp::wire::{Fields, Malformed};
use crate::store::{Batch, Described};

/// What a message holds.
#[derive(Debug)]
pub(super) struct Message<'m> {
    /// Spans to keep.
    pub(super) batch: Batch<'m>,
    /// Which service's exporter reports losses.
    pub(super) reports: Vec<(&'m str, Span)>,
    /// How many spans are not what they should be, and what is wrong with the first.
    pub(super) rejected: Option<(u64, Malformed)>,
}

impl<'m> Message<'m> {
    /// Fails when the message breaks off, or is something else: what its spans are cannot be told then.
    pub(super) fn read(message: &'m [u8]) -> Result<Self, Malformed> {
        let mut read = Self { batch: Batch::for_message(message.len()), reports: Vec::new(), rejected: None };
        let mut fields = Fields(message);
        while let Some((number, field)) = fields.next()? {
            if number == 1 {
                read.resource_spans(field.bytes()?)?;
            }
        }
        Ok(read)
    }

    fn resource_spans(&mut self, message: &'m [u8]) -> Result<(), Malformed> {
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
                self.scope_spans(resource, field.bytes()?)?;
            }
        }
        Ok(())
    }

    fn scope_spans(&mut self, resource: Described<'m>, message: &'m [u8]) -> Result<(), Malformed> {
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
        let scope_name = match self.batch.group(resource, scope) {
            Ok(name) => name,
            Err(why) => {
                self.reject(spans, why);
                return Ok(());
            }
        };
        let mut fields = Fields(message);
        while let Some((number, field)) = fields.next()? {
            if number == 2 {
                let span = field.bytes()?;
                if let Some(report) = loss::report(scope_name, span) {
                    self.reports.push((self.batch.service(), report));
                } else if let Err(why) = self.batch.push(span) {
                    self.reject(1, why);
                }
            }
        }
        Ok(())
    }

    fn reject(&mut self, spans: u64, why: Malformed) {
        self.rejected.get_or_insert((0, why)).0 += spans;
    }
}
