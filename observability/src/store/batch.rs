//! Spans on their way into the store, made ready without its lock.

use std::ops::Range;

use opentelemetry_proto::tonic::common::v1::InstrumentationScope;
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message as _;

use crate::span::TraceId;

/// The spans of one OTLP message, encoded, in groups of one resource and scope.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    pub(super) bytes: Vec<u8>,
    pub(super) spans: Vec<Pending>,
    pub(super) groups: Vec<Group>,
}

#[derive(Debug)]
pub(super) struct Pending {
    pub(super) trace_id: TraceId,
    pub(super) bytes: Range<usize>,
}

/// Spans that share an origin.
#[derive(Debug)]
pub(super) struct Group {
    /// An [`Origin`], encoded.
    pub(super) origin: Vec<u8>,
    pub(super) spans: Range<usize>,
}

/// Resource, its schema, scope, its schema: each behind its length, so that equal bytes mean equal origins.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Origin {
    #[prost(message, optional, tag = "1")]
    pub(super) resource: Option<Resource>,
    #[prost(string, tag = "2")]
    pub(super) resource_schema: String,
    #[prost(message, optional, tag = "3")]
    pub(super) scope: Option<InstrumentationScope>,
    #[prost(string, tag = "4")]
    pub(super) scope_schema: String,
}

impl Batch {
    pub(crate) fn with_capacity(bytes: usize) -> Self {
        Self { bytes: Vec::with_capacity(bytes), ..Self::default() }
    }

    /// Ends the group of the spans pushed since the last one.
    pub(crate) fn end_group(
        &mut self,
        resource: (Option<&Resource>, &str),
        scope: (Option<&InstrumentationScope>, &str),
    ) {
        let start = self.groups.last().map_or(0, |group| group.spans.end);
        if start < self.spans.len() {
            let origin = Origin {
                resource: resource.0.cloned(),
                resource_schema: resource.1.to_owned(),
                scope: scope.0.cloned(),
                scope_schema: scope.1.to_owned(),
            };
            self.groups.push(Group { origin: origin.encode_to_vec(), spans: start..self.spans.len() });
        }
    }

    /// Encodes the span, but for its trace id, which the store keeps once for all of a trace.
    pub(crate) fn push(&mut self, trace_id: TraceId, span: &mut Span) {
        let start = self.bytes.len();
        let id = std::mem::take(&mut span.trace_id);
        span.encode_raw(&mut self.bytes);
        span.trace_id = id;
        self.spans.push(Pending { trace_id, bytes: start..self.bytes.len() });
    }

    pub(crate) fn len(&self) -> usize {
        self.spans.len()
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes.len()
    }
}
