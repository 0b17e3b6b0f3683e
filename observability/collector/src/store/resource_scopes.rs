//! Resources and scopes, stored once and shared by all spans that refer to them.

use std::collections::HashMap;
use std::sync::Arc;

use foldhash::fast::RandomState;
use opentelemetry_proto::tonic::common::v1::InstrumentationScope;
use opentelemetry_proto::tonic::resource::v1::Resource as ProtoResource;
use prost::Message as _;
use prost::encoding::{WireType, encode_key, encode_varint};

use crate::otlp;
use crate::trace::{Resource, Scope};

/// Estimated size of the decoded form, as a multiple of the encoded size.
const DECODED_FACTOR: usize = 6;

/// Estimated bytes per entry beside the encoded and decoded forms.
const OVERHEAD: usize = 512;

/// Minimum number of evicted traces between two sweeps for unused entries.
const MIN_EVICTIONS_PER_SWEEP: usize = 16;

/// An encoded resource or scope with the schema URL that belongs to it.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Encoded<'m> {
    pub(crate) message: &'m [u8],
    pub(crate) schema: &'m str,
}

/// A resource and a scope, decoded.
#[derive(Debug)]
pub(super) struct ResourceScope {
    pub(super) service: Box<str>,
    pub(super) resource: Arc<Resource>,
    pub(super) scope: Arc<Scope>,
    pub(super) terms: Vec<u64>,
    /// Size of the encoded form.
    pub(super) bytes: usize,
}

/// The encoded form, used as the key: every part is length-delimited, so equal bytes mean equal contents.
#[derive(Clone, PartialEq, prost::Message)]
struct ResourceScopeKey {
    #[prost(message, optional, tag = "1")]
    resource: Option<ProtoResource>,
    #[prost(string, tag = "2")]
    resource_schema: String,
    #[prost(message, optional, tag = "3")]
    scope: Option<InstrumentationScope>,
    #[prost(string, tag = "4")]
    scope_schema: String,
}

/// Returns an encoded [`ResourceScopeKey`], assembled from encoded parts.
pub(super) fn key(resource: Encoded<'_>, scope: Encoded<'_>) -> Vec<u8> {
    let parts = [resource.message, resource.schema.as_bytes(), scope.message, scope.schema.as_bytes()];
    let mut key = Vec::with_capacity(parts.iter().map(|part| part.len() + 6).sum());
    for (tag, part) in (1..).zip(parts) {
        encode_key(tag, WireType::LengthDelimited, &mut key);
        encode_varint(part.len() as u64, &mut key);
        key.extend_from_slice(part);
    }
    key
}

/// The table of all resources and scopes.
#[derive(Debug, Default)]
pub(super) struct ResourceScopes {
    known: HashMap<Vec<u8>, Arc<ResourceScope>, RandomState>,
    bytes: usize,
    /// Traces evicted since the last sweep for unused entries.
    evicted_traces: usize,
}

impl ResourceScopes {
    /// Returns the service of every entry, with duplicates.
    pub(super) fn services(&self) -> impl Iterator<Item = &str> {
        self.known.values().map(|resource_scope| &*resource_scope.service)
    }

    /// Returns the entry for this key; inserts it if it is new.
    pub(super) fn intern(&mut self, key: &[u8], service: &str, terms: &[u64]) -> Arc<ResourceScope> {
        if let Some(known) = self.known.get(key) {
            return Arc::clone(known);
        }
        // Both parts were validated, so decoding does not fail.
        let ResourceScopeKey { resource, resource_schema, scope, scope_schema } =
            ResourceScopeKey::decode(key).unwrap_or_default();
        let decoded = Arc::new(ResourceScope {
            service: service.into(),
            resource: Arc::new(otlp::resource(resource.unwrap_or_default(), resource_schema)),
            scope: Arc::new(otlp::scope(scope.unwrap_or_default(), scope_schema)),
            terms: terms.to_vec(),
            bytes: key.len(),
        });
        self.bytes += cost(key.len());
        self.known.insert(key.to_vec(), Arc::clone(&decoded));
        decoded
    }

    /// Notes that a trace was evicted, and with it possibly the last reference to an entry.
    pub(super) fn trace_evicted(&mut self) {
        self.evicted_traces += 1;
    }

    /// Removes unused entries when the table takes more than `max_bytes`. A sweep visits all entries, so it runs only after
    /// enough evictions to be worth it.
    pub(super) fn sweep_above(&mut self, max_bytes: usize) {
        if self.bytes > max_bytes && self.evicted_traces > MIN_EVICTIONS_PER_SWEEP + self.known.len() / 8 {
            self.remove_unused();
        }
    }

    /// Removes the entries that no stored trace refers to.
    pub(super) fn remove_unused(&mut self) {
        self.evicted_traces = 0;
        let bytes = &mut self.bytes;
        self.known.retain(|key, resource_scope| {
            let used = Arc::strong_count(resource_scope) > 1;
            if !used {
                *bytes -= cost(key.len());
            }
            used
        });
    }

    /// Returns the estimated size of the table.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }
}

/// Returns the estimated size of an entry whose encoded form has `bytes`.
pub(super) fn cost(bytes: usize) -> usize {
    bytes * (1 + DECODED_FACTOR) + OVERHEAD
}
