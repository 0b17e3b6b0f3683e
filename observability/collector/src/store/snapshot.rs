//! The state of a store in a file.

use super::Store;
use super::recent_ids::{RecentIds, RecentIdsSnapshot};
use super::retention::Retention;
use super::stats::Stats;
use crate::trace::Kind;

/// The state of a store apart from its traces: what it remembers of evicted ones, and its statistics.
#[derive(Debug, serde::Serialize, serde::Deserialize)]
pub(crate) struct StoreSnapshot {
    sampled_below: u64,
    /// Operations of stored and evicted traces.
    #[serde(default)]
    operations: Vec<(String, String, Kind)>,
    evicted: RecentIdsSnapshot,
    stats: Stats,
}

impl StoreSnapshot {
    /// Converts a snapshot of schema 1.
    pub(crate) fn upgrade(&mut self) {
        self.evicted.upgrade();
    }
}

impl Store {
    /// Returns the state apart from the traces.
    pub(crate) fn snapshot(&self) -> StoreSnapshot {
        let inner = self.lock();
        let stats = Stats { bytes: 0, traces: 0, spans: 0, ..inner.stats };
        StoreSnapshot {
            sampled_below: inner.retention.sampled_below(),
            operations: inner.operations.all(),
            evicted: inner.evicted.snapshot(),
            stats,
        }
    }

    /// Returns an empty store with the same sample as the one in the snapshot. After its traces are inserted,
    /// [`Self::restore`] applies the rest of the snapshot.
    pub(crate) fn for_restore(max_bytes: usize, snapshot: &StoreSnapshot) -> Self {
        // Each trace fitted before, but may take some bytes more when inserted again.
        let store = Self { largest_trace: usize::MAX, ..Self::new(max_bytes) };
        store.lock().retention = Retention::new(snapshot.sampled_below);
        store
    }

    /// Applies a snapshot. Returns `false` if it is damaged.
    pub(crate) fn restore(&self, StoreSnapshot { evicted, operations, stats, .. }: &StoreSnapshot) -> bool {
        let Some(evicted) = RecentIds::restore(evicted) else { return false };
        let mut inner = self.lock();
        inner.evicted = evicted;
        operations.iter().for_each(|(service, name, kind)| inner.operations.record(service, name, *kind));
        let Stats { bytes, traces, spans, .. } = inner.stats;
        inner.stats = Stats { bytes, traces, spans, ..*stats };
        true
    }
}
