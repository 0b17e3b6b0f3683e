//! Resources and scopes, stored once and shared by all spans that refer to them.

use std::collections::HashMap;
use std::sync::Arc;

use foldhash::fast::RandomState;

use super::encoded::Size;
use super::span_batch::SpanBatch;
use crate::otlp;
use crate::otlp::wire::{Fields, Malformed};
use crate::trace::{Resource, Scope};

/// Minimum number of evicted traces between two sweeps for unused entries.
const MIN_EVICTIONS_PER_SWEEP: usize = 16;

/// A resource, decoded.
#[derive(Debug)]
pub(super) struct StoredResource {
    pub(super) service: Box<str>,
    pub(super) resource: Arc<Resource>,
    pub(super) terms: Vec<u64>,
    pub(super) size: Size,
}

/// A resource and a scope, decoded.
#[derive(Debug)]
pub(super) struct ResourceScope {
    pub(super) resource: Arc<StoredResource>,
    pub(super) scope: Arc<Scope>,
    /// Search terms of the scope.
    pub(super) terms: Vec<u64>,
    /// Size of the scope.
    pub(super) size: Size,
}

/// The table of all resources and scopes.
#[derive(Debug, Default)]
pub(super) struct ResourceScopes {
    known: HashMap<Vec<u8>, ScopesOfResource, RandomState>,
    /// Number of pairs of a resource and a scope.
    pairs: usize,
    bytes: usize,
    /// Traces evicted since the last sweep for unused entries, and the size of the entries that they referred to.
    evicted_traces: usize,
    evicted_bytes: usize,
}

#[derive(Debug)]
struct ScopesOfResource {
    resource: Arc<StoredResource>,
    scopes: HashMap<Vec<u8>, Arc<ResourceScope>, RandomState>,
}

impl ResourceScopes {
    /// Returns the service of every resource, with duplicates.
    pub(super) fn services(&self) -> impl Iterator<Item = &str> {
        self.known.values().map(|known| &*known.resource.service)
    }

    /// Returns the entry of each group with spans; inserts those that are new.
    pub(super) fn intern(&mut self, batch: &SpanBatch<'_>) -> Vec<Arc<ResourceScope>> {
        let mut entries = Vec::new();
        for (pending, groups) in batch.by_resource() {
            if !self.known.contains_key(&pending.key) {
                self.bytes += pending.size.stored();
                let resource = Arc::new(StoredResource {
                    service: pending.service.into(),
                    // Validated, so decoding does not fail.
                    resource: Arc::new(decoded(&pending.key, otlp::resource)),
                    terms: pending.terms.clone(),
                    size: pending.size,
                });
                let scopes = HashMap::default();
                self.known.insert(pending.key.clone(), ScopesOfResource { resource, scopes });
            }
            let Some(known) = self.known.get_mut(&pending.key) else { continue };
            for group in groups {
                let entry = known.scopes.get(&group.scope_key).map(Arc::clone).unwrap_or_else(|| {
                    let entry = Arc::new(ResourceScope {
                        resource: Arc::clone(&known.resource),
                        scope: Arc::new(decoded(&group.scope_key, otlp::scope)),
                        terms: group.terms.clone(),
                        size: group.size,
                    });
                    self.bytes += group.size.stored();
                    self.pairs += 1;
                    known.scopes.insert(group.scope_key.clone(), Arc::clone(&entry));
                    entry
                });
                entries.push(entry);
            }
        }
        entries
    }

    /// Notes that a trace was evicted, and with it possibly the last reference to entries of this size.
    pub(super) fn trace_evicted(&mut self, bytes: usize) {
        self.evicted_traces += 1;
        self.evicted_bytes += bytes;
    }

    /// Removes unused entries when the table takes more than `max_bytes`. A sweep visits all entries, so it runs only after
    /// enough evictions to be worth it.
    pub(super) fn sweep_above(&mut self, max_bytes: usize) {
        let may_be_worth_it =
            self.evicted_traces > MIN_EVICTIONS_PER_SWEEP + self.pairs / 8 || self.evicted_bytes > max_bytes;
        if self.bytes > max_bytes && may_be_worth_it {
            self.remove_unused();
        }
    }

    /// Removes the entries that no stored trace refers to.
    pub(super) fn remove_unused(&mut self) {
        (self.evicted_traces, self.evicted_bytes) = (0, 0);
        let Self { known, pairs, bytes, .. } = self;
        known.retain(|_, ScopesOfResource { resource, scopes }| {
            scopes.retain(|_, entry| {
                let used = Arc::strong_count(entry) > 1;
                if !used {
                    *pairs -= 1;
                    *bytes -= entry.size.stored();
                }
                used
            });
            if scopes.is_empty() {
                *bytes -= resource.size.stored();
            }
            !scopes.is_empty()
        });
    }

    /// Returns the estimated size of the table.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }
}

/// Decodes the resource or scope of a key.
fn decoded<T: Default>(key: &[u8], decode: fn(&[u8], &[u8]) -> Result<T, Malformed>) -> T {
    let (mut message, mut schema) = (&[][..], &[][..]);
    let mut fields = Fields(key);
    while let Ok(Some((number, field))) = fields.next() {
        let part = if number == 1 { &mut message } else { &mut schema };
        *part = field.bytes().unwrap_or_default();
    }
    decode(message, schema).unwrap_or_default()
}
