//! Builds an `ExportTraceServiceRequest` of repaired spans.

use crate::otlp::MAX_MESSAGE;
use crate::otlp::encoded::push_bytes;
use crate::otlp::repair::{self, Repairs};
use crate::otlp::wire::Malformed;
use crate::store::Encoded;

/// Maximum size of a repaired message, as a multiple of its size before: U+FFFD takes 3 bytes in the place of one.
const MAX_GROWTH: usize = 3;

/// Further bytes of a repaired message, for markers that are longer than what they replace.
const MARKER_BYTES: usize = 64 << 10;

/// The message under construction. The spans of one resource and scope are adjacent.
#[derive(Debug, Default)]
pub(super) struct RepairedMessage<'m> {
    max_bytes: usize,
    message: Vec<u8>,
    repairs: Repairs,
    /// The current resource and scope, or why it cannot be repaired, and their fields of the message so far.
    resource: Option<(Encoded<'m>, Result<(), Malformed>)>,
    scope: Option<(Encoded<'m>, Result<(), Malformed>)>,
    resource_spans: Vec<u8>,
    scope_spans: Vec<u8>,
    /// Whether the current resource and the current scope have spans.
    resource_has_spans: bool,
    scope_has_spans: bool,
}

impl<'m> RepairedMessage<'m> {
    /// Returns an empty message in the place of one of `bytes`.
    pub(super) fn in_place_of(bytes: usize) -> Self {
        Self { max_bytes: MAX_GROWTH * bytes + MARKER_BYTES, ..Self::default() }
    }

    /// Adds a span. Fails without a change if the span, its resource or its scope is malformed, or if the message would be too
    /// long.
    pub(super) fn push(
        &mut self,
        resource: Encoded<'m>,
        scope: Encoded<'m>,
        span: &[u8],
    ) -> Result<(), Malformed> {
        self.resource(resource)?;
        self.scope(scope)?;
        let mut repairs = self.repairs;
        let span = repair::span(span, self.max_part(), &mut repairs)?;
        self.repairs = repairs;
        push_bytes(&mut self.scope_spans, 2, &span);
        (self.resource_has_spans, self.scope_has_spans) = (true, true);
        Ok(())
    }

    /// Returns the message, if it has spans, and the repairs.
    pub(super) fn finish(mut self) -> Option<(Vec<u8>, Repairs)> {
        self.end_resource();
        (!self.message.is_empty()).then_some((self.message, self.repairs))
    }

    /// Returns the maximum size of the next span, resource or scope.
    fn max_part(&self) -> usize {
        let used = self.message.len() + self.resource_spans.len() + self.scope_spans.len();
        self.max_bytes.saturating_sub(used).min(MAX_MESSAGE)
    }

    fn resource(&mut self, resource: Encoded<'m>) -> Result<(), Malformed> {
        if let Some((_, known)) = self.resource.filter(|(last, _)| last.is(&resource)) {
            return known;
        }
        self.end_resource();
        let repaired =
            repair::resource(resource.message, self.max_part(), &mut self.repairs).map(|repaired| {
                push_bytes(&mut self.resource_spans, 1, &repaired);
                repair::push_text(&mut self.resource_spans, 3, resource.schema, &mut self.repairs);
            });
        self.resource = Some((resource, repaired));
        repaired
    }

    fn scope(&mut self, scope: Encoded<'m>) -> Result<(), Malformed> {
        if let Some((_, known)) = self.scope.filter(|(last, _)| last.is(&scope)) {
            return known;
        }
        self.end_scope();
        let repaired = repair::scope(scope.message, self.max_part(), &mut self.repairs).map(|repaired| {
            push_bytes(&mut self.scope_spans, 1, &repaired);
            repair::push_text(&mut self.scope_spans, 3, scope.schema, &mut self.repairs);
        });
        self.scope = Some((scope, repaired));
        repaired
    }

    fn end_scope(&mut self) {
        if std::mem::take(&mut self.scope_has_spans) {
            push_bytes(&mut self.resource_spans, 2, &self.scope_spans);
        }
        self.scope_spans.clear();
        self.scope = None;
    }

    fn end_resource(&mut self) {
        self.end_scope();
        if std::mem::take(&mut self.resource_has_spans) {
            push_bytes(&mut self.message, 1, &self.resource_spans);
        }
        self.resource_spans.clear();
        self.resource = None;
    }
}
