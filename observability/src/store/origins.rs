//! Resources and scopes, each kept once however many spans and batches name it.

use std::collections::HashMap;
use std::sync::Arc;

use prost::Message as _;

use super::batch::{Group, Origin};
use crate::otlp;
use crate::span::{Resource, Scope};

/// An origin as decoded spans share it.
pub(super) type Shared = Arc<Decoded>;

/// The decoded form takes more room than the encoded one, about this much more.
const DECODED_FACTOR: usize = 4;
const ORIGIN_OVERHEAD: usize = 256;

#[derive(Debug)]
pub(super) struct Decoded {
    pub(super) resource: Arc<Resource>,
    pub(super) scope: Arc<Scope>,
}

#[derive(Debug, Default)]
pub(super) struct Origins {
    known: HashMap<Vec<u8>, Shared>,
    bytes: usize,
}

impl Origins {
    pub(super) fn intern(&mut self, group: &Group) -> Shared {
        if let Some(known) = self.known.get(&group.origin) {
            return Arc::clone(known);
        }
        // Decodes: it was encoded a moment ago.
        let origin = Origin::decode(group.origin.as_slice()).unwrap_or_default();
        let decoded = Arc::new(Decoded {
            resource: Arc::new(otlp::resource(origin.resource.unwrap_or_default(), origin.resource_schema)),
            scope: Arc::new(otlp::scope(origin.scope.unwrap_or_default(), origin.scope_schema)),
        });
        self.bytes += cost(&group.origin);
        self.known.insert(group.origin.clone(), Arc::clone(&decoded));
        decoded
    }

    /// Lets go of those that no kept trace needs.
    pub(super) fn forget_unused(&mut self) {
        let bytes = &mut self.bytes;
        self.known.retain(|key, origin| {
            let used = Arc::strong_count(origin) > 1;
            if !used {
                *bytes -= cost(key);
            }
            used
        });
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }
}

fn cost(key: &[u8]) -> usize {
    key.len() * (1 + DECODED_FACTOR) + ORIGIN_OVERHEAD
}
