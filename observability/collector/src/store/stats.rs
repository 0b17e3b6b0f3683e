//! Figures about the contents of the store.

use super::retention::{EvictionReason, RetentionClass};
use crate::trace::TraceId;

/// Statistics of the store. Those that count events only grow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
pub(crate) struct Stats {
    /// Bytes in use.
    pub(crate) bytes: usize,
    /// Number of stored traces.
    pub(crate) traces: usize,
    /// Number of stored spans.
    pub(crate) spans: u64,
    /// Number of evicted traces, by [`EvictionReason`].
    pub(crate) evicted_traces: [u64; EvictionReason::ALL.len()],
    /// Number of evicted traces of which spans were missing. Zero in files of schema 1.
    #[serde(default)]
    pub(crate) evicted_incomplete: u64,
    /// Number of spans of the evicted traces.
    pub(crate) evicted_spans: u64,
    /// Number of spans received after the eviction of their trace.
    pub(crate) late_spans: u64,
    /// Number of spans received more than once.
    #[serde(rename = "repeated_spans")]
    pub(crate) duplicate_spans: u64,
}

/// Number of stored traces by retention class.
#[derive(Debug)]
pub(crate) struct RetentionSummary {
    /// Number of traces and bytes of each class.
    pub(crate) classes: [(RetentionClass, usize, usize); 4],
    /// The fraction of all received traces that is in the uniform sample.
    pub(crate) sampled_share: f64,
    /// The uniform sample, including traces that are also kept for another reason.
    pub(crate) sample: Vec<TraceId>,
}
