//! Validated spans on their way into the store. Everything here happens before the store's lock is taken.

use std::ops::Range;

use super::encoded::{Encoded, Size};
use super::search_terms::SearchTerms;
use super::validate::{self, Invalid, SpanHeader};
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
    groups: Vec<SpanGroup<'m>>,
    resources: Vec<PendingResource<'m>>,
    /// The last resource of the message: its position in `resources`, or why it is invalid. A resource may have any number
    /// of scopes, but is validated once.
    last_resource: Option<(Encoded<'m>, Result<usize, Invalid>)>,
}

/// One span: its header, and where its body and its search terms lie in the batch.
#[derive(Debug)]
pub(super) struct PendingSpan<'m> {
    pub(super) header: SpanHeader<'m>,
    pub(super) body: Range<usize>,
    pub(super) terms: Range<usize>,
}

/// A resource of one or more groups.
#[derive(Debug)]
pub(super) struct PendingResource<'m> {
    pub(super) key: Vec<u8>,
    pub(super) service: &'m str,
    pub(super) terms: Vec<u64>,
    pub(super) size: Size,
}

/// Spans that share a resource and a scope.
#[derive(Debug)]
pub(super) struct SpanGroup<'m> {
    /// Position of the resource.
    resource: usize,
    pub(super) service: &'m str,
    pub(super) scope_key: Vec<u8>,
    scope: &'m str,
    /// Search terms of the scope.
    pub(super) terms: Vec<u64>,
    /// Size of the scope.
    pub(super) size: Size,
    pub(super) spans: Range<usize>,
}

impl<'m> SpanBatch<'m> {
    /// Returns an empty batch with capacity for a message of `bytes`.
    pub(crate) fn with_capacity(bytes: usize) -> Self {
        Self { bodies: Vec::with_capacity(bytes.min(MAX_BYTES)), ..Self::default() }
    }

    /// Begins the group of one resource and scope. Fails without a change if one of them is invalid.
    pub(crate) fn begin_group(&mut self, resource: Encoded<'m>, scope: Encoded<'m>) -> Result<(), Invalid> {
        let resource = self.resource(resource)?;
        let mut terms = SearchTerms::default();
        let (name, parts) = validate::scope(scope, &mut terms)?;
        let spans = self.spans.len();
        // One message can contain millions of groups whose spans were all rejected.
        self.groups.pop_if(|last| last.spans.is_empty());
        self.groups.push(SpanGroup {
            resource,
            service: self.resources[resource].service,
            scope_key: scope.key(),
            scope: name,
            terms: terms.0,
            size: Size { encoded: scope.message.len(), parts },
            spans: spans..spans,
        });
        Ok(())
    }

    /// Returns the position of a resource. Adds it if it is not the last one.
    fn resource(&mut self, encoded: Encoded<'m>) -> Result<usize, Invalid> {
        if let Some((_, known)) = self.last_resource.filter(|(last, _)| last.is(&encoded)) {
            return known;
        }
        let mut terms = SearchTerms::default();
        let validated = validate::resource(encoded, &mut terms).map(|(service, parts)| {
            terms.service(service);
            // Removes resources whose spans were all rejected.
            self.groups.pop_if(|last| last.spans.is_empty());
            self.resources.truncate(self.groups.last().map_or(0, |last| last.resource + 1));
            let size = Size { encoded: encoded.message.len(), parts };
            self.resources.push(PendingResource { key: encoded.key(), service, terms: terms.0, size });
            self.resources.len() - 1
        });
        self.last_resource = Some((encoded, validated));
        validated
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
        let Some(last) = self.groups.pop() else { return };
        self.groups.clear();
        self.resources.drain(..last.resource);
        self.resources.truncate(1);
        // The current group's spans are valid, so its resource is the last one.
        if let Some((_, Ok(position))) = &mut self.last_resource {
            *position = 0;
        }
        self.groups.push(SpanGroup { resource: 0, spans: 0..0, ..last });
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

    /// Returns each resource that has spans, with its groups.
    pub(super) fn by_resource(
        &self,
    ) -> impl Iterator<Item = (&PendingResource<'m>, impl Iterator<Item = &SpanGroup<'m>>)> {
        let by_resource = self.groups.chunk_by(|a, b| a.resource == b.resource);
        by_resource.filter_map(|groups| {
            let resource = &self.resources[groups[0].resource];
            let mut non_empty = groups.iter().filter(|group| !group.spans.is_empty()).peekable();
            non_empty.peek()?;
            Some((resource, non_empty))
        })
    }

    /// Returns the groups that have spans: a resource without spans is not stored.
    pub(super) fn non_empty_groups(&self) -> impl Iterator<Item = &SpanGroup<'m>> {
        self.groups.iter().filter(|group| !group.spans.is_empty())
    }
}
