//! Resources and scopes, each kept once however many spans and batches name it.

use std::collections::HashMap;
use std::sync::Arc;

use foldhash::fast::RandomState;
use opentelemetry_proto::tonic::common::v1::InstrumentationScope;
use opentelemetry_proto::tonic::resource::v1::Resource as ProtoResource;
use prost::Message as _;
use prost::encoding::{WireType, encode_key, encode_varint};

use super::batch::{Described, Group};
use crate::otlp;
use crate::trace::{Resource, Scope};

/// An origin as spans share it.
pub(super) type Shared = Arc<Decoded>;

/// The decoded form takes more room than the encoded one, about this much more.
const DECODED_FACTOR: usize = 6;
const ORIGIN_OVERHEAD: usize = 512;

/// Traces that may leave before it is looked for origins that are unused.
const SOME: usize = 16;

#[derive(Debug)]
pub(super) struct Decoded {
    pub(super) service: Box<str>,
    pub(super) resource: Arc<Resource>,
    pub(super) scope: Arc<Scope>,
    pub(super) tokens: Vec<u64>,
    /// What it takes on the wire.
    pub(super) bytes: usize,
}

/// Resource, its schema, scope, its schema: each behind its length, so that equal bytes mean equal origins.
#[derive(Clone, PartialEq, prost::Message)]
struct Origin {
    #[prost(message, optional, tag = "1")]
    resource: Option<ProtoResource>,
    #[prost(string, tag = "2")]
    resource_schema: String,
    #[prost(message, optional, tag = "3")]
    scope: Option<InstrumentationScope>,
    #[prost(string, tag = "4")]
    scope_schema: String,
}

/// An [`Origin`], encoded from its parts as they came.
pub(super) fn key(resource: Described<'_>, scope: Described<'_>) -> Vec<u8> {
    let parts = [resource.message, resource.schema.as_bytes(), scope.message, scope.schema.as_bytes()];
    let mut key = Vec::with_capacity(parts.iter().map(|part| part.len() + 6).sum());
    for (tag, part) in (1..).zip(parts) {
        encode_key(tag, WireType::LengthDelimited, &mut key);
        encode_varint(part.len() as u64, &mut key);
        key.extend_from_slice(part);
    }
    key
}

#[derive(Debug, Default)]
pub(super) struct Origins {
    known: HashMap<Vec<u8>, Shared, RandomState>,
    bytes: usize,
    /// Traces that left since those unused were let go of.
    left: usize,
}

impl Origins {
    /// Some come more than once.
    pub(super) fn services(&self) -> impl Iterator<Item = &str> {
        self.known.values().map(|origin| &*origin.service)
    }

    pub(super) fn intern(&mut self, group: &Group<'_>) -> Shared {
        if let Some(known) = self.known.get(&group.origin) {
            return Arc::clone(known);
        }
        // Decodes: it was checked a moment ago.
        let origin = Origin::decode(group.origin.as_slice()).unwrap_or_default();
        let decoded = Arc::new(Decoded {
            service: group.service.into(),
            resource: Arc::new(otlp::resource(origin.resource.unwrap_or_default(), origin.resource_schema)),
            scope: Arc::new(otlp::scope(origin.scope.unwrap_or_default(), origin.scope_schema)),
            tokens: group.tokens.clone(),
            bytes: group.origin.len(),
        });
        self.bytes += cost(group.origin.len());
        self.known.insert(group.origin.clone(), Arc::clone(&decoded));
        decoded
    }

    /// A trace left; it may have been the last to need an origin.
    pub(super) fn trace_left(&mut self) {
        self.left += 1;
    }

    /// Lets go of those that no kept trace needs, if all take more than `bytes`. Not each time, as it takes a walk through all
    /// of them, but before many traces have to go for what others left behind.
    pub(super) fn bound(&mut self, bytes: usize) {
        if self.bytes > bytes && self.left > SOME + self.known.len() / 8 {
            self.forget_unused();
        }
    }

    /// Lets go of those that no kept trace needs.
    pub(super) fn forget_unused(&mut self) {
        self.left = 0;
        let bytes = &mut self.bytes;
        self.known.retain(|key, origin| {
            let used = Arc::strong_count(origin) > 1;
            if !used {
                *bytes -= cost(key.len());
            }
            used
        });
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }
}

/// What an origin of so many bytes takes here.
pub(super) fn cost(bytes: usize) -> usize {
    bytes * (1 + DECODED_FACTOR) + ORIGIN_OVERHEAD
}
