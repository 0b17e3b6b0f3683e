//! Spans on their way into the store, made ready without its lock.

use std::ops::Range;

use super::tokens::Tokens;
use crate::otlp::wire::Malformed;
use crate::store::validate::{self, Head, MAX_ORIGINS};
use crate::trace::UNKNOWN_SERVICE;

/// A part of a message that is full: the store takes it without letting go of its lock, so others ask meanwhile.
const MOST_SPANS: usize = 1024;
const MOST_BYTES: usize = 1 << 20;

/// Spans of one OTLP message, in groups of one resource and scope.
#[derive(Debug, Default)]
pub(crate) struct Batch<'m> {
    /// What of each span is not in its head.
    pub(super) bodies: Vec<u8>,
    pub(super) tokens: Tokens,
    pub(super) spans: Vec<Pending<'m>>,
    pub(super) groups: Vec<Group<'m>>,
    /// Bytes of the groups' resources and scopes, and how many there may be.
    origins: usize,
    most_origins: usize,
}

#[derive(Debug)]
pub(super) struct Pending<'m> {
    pub(super) head: Head<'m>,
    pub(super) body: Range<usize>,
    pub(super) tokens: Range<usize>,
}

/// Spans that share an origin.
#[derive(Debug)]
pub(super) struct Group<'m> {
    /// Resource and scope as one key.
    pub(super) origin: Vec<u8>,
    pub(super) service: &'m str,
    scope: &'m str,
    pub(super) tokens: Vec<u64>,
    pub(super) spans: Range<usize>,
}

/// A resource or a scope as it came, and its schema.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Described<'m> {
    pub(crate) message: &'m [u8],
    pub(crate) schema: &'m str,
}

impl<'m> Batch<'m> {
    /// Room for the spans of a message of so many bytes.
    pub(crate) fn for_message(bytes: usize) -> Self {
        let bodies = Vec::with_capacity(bytes.min(MOST_BYTES));
        Self { bodies, most_origins: MAX_ORIGINS, ..Self::default() }
    }

    /// For spans that a collector kept: it may say their resources and scopes more often than any sender may.
    pub(crate) fn of_kept() -> Self {
        Self { most_origins: usize::MAX, ..Self::default() }
    }

    /// Begins the group of one resource and scope. Fails, and takes nothing, if one of them is not what it should be.
    pub(crate) fn group(&mut self, resource: Described<'m>, scope: Described<'m>) -> Result<(), Malformed> {
        self.origins += resource.message.len() + scope.message.len();
        if self.origins > self.most_origins {
            return Err(Malformed::ManyOrigins);
        }
        let mut tokens = Tokens::default();
        let service = validate::resource(resource.message, &mut tokens)?.unwrap_or(UNKNOWN_SERVICE);
        let name = validate::scope(scope.message, &mut tokens)?;
        tokens.service(service);
        let spans = self.spans.len();
        // Millions of groups whose spans were all refused fit into one message.
        self.groups.pop_if(|last| last.spans.is_empty());
        self.groups.push(Group {
            origin: super::origins::key(resource, scope),
            service,
            scope: name,
            tokens: tokens.0,
            spans: spans..spans,
        });
        Ok(())
    }

    /// Adds a span to the group begun last. Fails, and takes nothing, if it is not what it should be.
    pub(crate) fn push(&mut self, message: &'m [u8]) -> Result<(), Malformed> {
        let (body, tokens) = (self.bodies.len(), self.tokens.0.len());
        let read = validate::span(message, &mut self.bodies, &mut self.tokens);
        let head = read.inspect_err(|_| {
            self.bodies.truncate(body);
            self.tokens.0.truncate(tokens);
        })?;
        let (body, tokens) = (body..self.bodies.len(), tokens..self.tokens.0.len());
        self.spans.push(Pending { head, body, tokens });
        if let Some(group) = self.groups.last_mut() {
            group.spans.end = self.spans.len();
        }
        Ok(())
    }

    /// Whether the store should take these spans before there are more.
    pub(crate) fn is_full(&self) -> bool {
        self.spans.len() >= MOST_SPANS || self.bodies.len() >= MOST_BYTES || self.groups.len() >= MOST_SPANS
    }

    /// Lets go of its spans. Those that come go on in the group begun last.
    pub(crate) fn go_on(&mut self) {
        self.bodies.clear();
        self.tokens.0.clear();
        self.spans.clear();
        let last = self.groups.pop();
        self.groups.clear();
        self.groups.extend(last.map(|group| Group { spans: 0..0, ..group }));
    }

    /// The scope's name in the group begun last.
    pub(crate) fn scope(&self) -> &'m str {
        self.groups.last().map_or("", |group| group.scope)
    }

    /// The service of the group begun last.
    pub(crate) fn service(&self) -> &'m str {
        self.groups.last().map_or(UNKNOWN_SERVICE, |group| group.service)
    }

    pub(crate) fn len(&self) -> usize {
        self.spans.len()
    }

    /// Each service and its spans, numbered from the first span of the batch.
    pub(crate) fn by_service(
        &self,
    ) -> impl Iterator<Item = (&'m str, impl Iterator<Item = (usize, &Head<'m>)>)> {
        self.filled().map(|group| {
            let spans = group.spans.clone();
            (group.service, spans.map(|position| (position, &self.spans[position].head)))
        })
    }

    /// The groups that have spans: a resource without any is not worth keeping.
    pub(super) fn filled(&self) -> impl Iterator<Item = &Group<'m>> {
        self.groups.iter().filter(|group| !group.spans.is_empty())
    }
}
