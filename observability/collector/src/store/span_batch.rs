//! Validated spans on their way into the store. Everything here happens before the store's lock is taken.

use std::ops::Range;

use super::resource_scopes::{self, Encoded};
use super::search_terms::SearchTerms;
use super::validate::{self, Invalid, MAX_RESOURCES_PER_MESSAGE_BYTES, SpanHeader};
use crate::trace::MISSING_SERVICE;

/// Limits of one batch. The store holds its lock for a whole batch, so these bound how long queries wait.
const MAX_SPANS: usize = 1024;
const MAX_BYTES: usize = 1 << 20;

/// Spans of one OTLP message, grouped by resource and scope.
#[derive(Debug, Default)]
pub(crate) struct SpanBatch<'m> {
    /// The encoded fields of each span that its header lacks.
    pub(super) bodies: Vec<u8>,
    pub(super) terms: SearchTerms,
    pub(super) spans: Vec<PendingSpan<'m>>,
    pub(super) groups: Vec<SpanGroup<'m>>,
    /// Bytes of the groups' resources and scopes, and their maximum.
    resource_bytes: usize,
    max_resource_bytes: usize,
}

/// One span: its header, and where its body and its search terms lie in the batch.
#[derive(Debug)]
pub(super) struct PendingSpan<'m> {
    pub(super) header: SpanHeader<'m>,
    pub(super) body: Range<usize>,
    pub(super) terms: Range<usize>,
}

/// Spans that share a resource and a scope.
#[derive(Debug)]
pub(super) struct SpanGroup<'m> {
    /// Key of the resource and scope.
    pub(super) resource_scope: Vec<u8>,
    pub(super) service: &'m str,
    scope: &'m str,
    pub(super) terms: Vec<u64>,
    pub(super) spans: Range<usize>,
}

impl<'m> SpanBatch<'m> {
    /// Returns an empty batch with capacity for a message of `bytes`.
    pub(crate) fn with_capacity(bytes: usize) -> Self {
        let bodies = Vec::with_capacity(bytes.min(MAX_BYTES));
        Self { bodies, max_resource_bytes: MAX_RESOURCES_PER_MESSAGE_BYTES, ..Self::default() }
    }

    /// Returns an empty batch for spans from a collector's own file, which may repeat resources and scopes more often than
    /// a sender may.
    pub(crate) fn for_restore() -> Self {
        Self { max_resource_bytes: usize::MAX, ..Self::default() }
    }

    /// Begins the group of one resource and scope. Fails without a change if one of them is invalid.
    pub(crate) fn begin_group(&mut self, resource: Encoded<'m>, scope: Encoded<'m>) -> Result<(), Invalid> {
        self.resource_bytes += resource.message.len() + scope.message.len();
        if self.resource_bytes > self.max_resource_bytes {
            return Err(Invalid::ResourcesTooLarge);
        }
        let mut terms = SearchTerms::default();
        let service = validate::resource(resource.message, &mut terms)?;
        let name = validate::scope(scope.message, &mut terms)?;
        terms.service(service);
        let spans = self.spans.len();
        // One message can contain millions of groups whose spans were all rejected.
        self.groups.pop_if(|last| last.spans.is_empty());
        self.groups.push(SpanGroup {
            resource_scope: resource_scopes::key(resource, scope),
            service,
            scope: name,
            terms: terms.0,
            spans: spans..spans,
        });
        Ok(())
    }

    /// Adds a span to the current group. Fails without a change if the span is invalid.
    pub(crate) fn push(&mut self, message: &'m [u8]) -> Result<(), Invalid> {
        let (body, terms) = (self.bodies.len(), self.terms.0.len());
        let validated = validate::span(message, &mut self.bodies, &mut self.terms);
        let header = validated.inspect_err(|_| {
            self.bodies.truncate(body);
            self.terms.0.truncate(terms);
        })?;
        let (body, terms) = (body..self.bodies.len(), terms..self.terms.0.len());
        self.spans.push(PendingSpan { header, body, terms });
        if let Some(group) = self.groups.last_mut() {
            group.spans.end = self.spans.len();
        }
        Ok(())
    }

    /// Returns whether the batch should be inserted before more spans are added.
    pub(crate) fn is_full(&self) -> bool {
        self.spans.len() >= MAX_SPANS || self.bodies.len() >= MAX_BYTES || self.groups.len() >= MAX_SPANS
    }

    /// Removes all spans. The current group stays, without spans.
    pub(crate) fn clear_spans(&mut self) {
        self.bodies.clear();
        self.terms.0.clear();
        self.spans.clear();
        let last = self.groups.pop();
        self.groups.clear();
        self.groups.extend(last.map(|group| SpanGroup { spans: 0..0, ..group }));
    }

    /// Returns the scope name of the current group.
    pub(crate) fn scope(&self) -> &'m str {
        self.groups.last().map_or("", |group| group.scope)
    }

    /// Returns the service of the current group.
    pub(crate) fn service(&self) -> &'m str {
        self.groups.last().map_or(MISSING_SERVICE, |group| group.service)
    }

    /// Returns the number of spans.
    pub(crate) fn len(&self) -> usize {
        self.spans.len()
    }

    /// Returns each group's service with its spans and their positions in the batch.
    pub(crate) fn by_service(
        &self,
    ) -> impl Iterator<Item = (&'m str, impl Iterator<Item = (usize, &SpanHeader<'m>)>)> {
        self.non_empty_groups().map(|group| {
            let spans = group.spans.clone();
            (group.service, spans.map(|position| (position, &self.spans[position].header)))
        })
    }

    /// Returns the groups that have spans: a resource without spans is not stored.
    pub(super) fn non_empty_groups(&self) -> impl Iterator<Item = &SpanGroup<'m>> {
        self.groups.iter().filter(|group| !group.spans.is_empty())
    }
}
