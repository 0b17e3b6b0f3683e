//! Selects the traces to keep when the store is full:
//!
//! - **Errors**: traces with a failed span, the latest of each operation that failed.
//! - **Exemplars**: the slowest traces of each operation since the start, and the exemplars of each bucket of its histogram,
//!   so that every percentile can be traced back to requests.
//! - **A uniform sample** of all traces, as an unbiased picture of typical requests. Only its id decides whether a
//!   trace is in the sample.
//! - **The latest** traces: they may still become one of the above, and late spans find their trace.
//!
//! Each of the four classes has a quarter of the store; a class may use space that the others leave free. When the store is
//! full, traces of the class that exceeds its quarter most are evicted:
//!
//! | class | evicted |
//! |---|---|
//! | errors | the oldest trace of the operation with the most errors |
//! | exemplars | the faster half of the operation whose traces take most bytes |
//! | sample | the traces with the highest ranks |
//! | latest | the oldest trace |
//!
//! Whole traces are evicted, never single spans, and each eviction is counted by reason.

use std::collections::{BTreeSet, BinaryHeap, HashMap, VecDeque};

use foldhash::fast::RandomState;

use crate::trace::TraceId;

/// Maximum number of operations with an error list of their own; further ones share one list.
const ERROR_OPERATIONS: usize = 1024;

/// Number of ids of evicted traces that the lists may hold beyond twice the number of stored traces.
const MAX_STALE_IDS: usize = 1000;

/// Reason for keeping a trace: the first variant that applies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum RetentionClass {
    /// One of its spans failed.
    Error,
    /// It is among the slowest of an operation, or an exemplar of a histogram bucket.
    Exemplar,
    /// It is in the uniform sample.
    Sampled,
    /// It arrived recently.
    #[default]
    Latest,
}

impl RetentionClass {
    pub(crate) const ALL: [Self; 4] = [Self::Error, Self::Exemplar, Self::Sampled, Self::Latest];

    /// Returns the name in the API.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Exemplar => "slowest",
            Self::Sampled => "sampled",
            Self::Latest => "latest",
        }
    }
}

/// Reason for the eviction of a trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum EvictionReason {
    /// It was the oldest of the latest.
    Old,
    /// Traces with errors exceeded their share.
    ErrorsFull,
    /// Slowest traces and exemplars exceeded their share.
    ExemplarsFull,
    /// The uniform sample was thinned.
    SampleThinned,
    /// It exceeded the maximum size of a single trace.
    TooLarge,
}

impl EvictionReason {
    pub(crate) const ALL: [Self; 5] =
        [Self::Old, Self::ErrorsFull, Self::ExemplarsFull, Self::SampleThinned, Self::TooLarge];

    /// Returns the name in metrics and the ledger.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Old => "old",
            Self::ErrorsFull => "errors_full",
            Self::ExemplarsFull => "slowest_full",
            Self::SampleThinned => "sample_thinned",
            Self::TooLarge => "too_large",
        }
    }
}

/// The reasons to keep one trace.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct KeepReasons {
    pub(super) error: bool,
    pub(super) sampled: bool,
    /// Number of its spans among the slowest or the bucket exemplars. Changes may arrive out of order, so it can be negative
    /// for a while.
    exemplars: i32,
    /// The class before the trace became [`RetentionClass::Latest`] again.
    previous: RetentionClass,
}

impl KeepReasons {
    /// Returns the class: the first reason that applies.
    pub(super) fn class(&self) -> RetentionClass {
        if self.error {
            RetentionClass::Error
        } else if self.exemplars > 0 {
            RetentionClass::Exemplar
        } else if self.sampled {
            RetentionClass::Sampled
        } else {
            RetentionClass::Latest
        }
    }

    /// Returns the reason that an eviction is counted under.
    pub(super) fn eviction_reason(&self) -> EvictionReason {
        match self.previous {
            RetentionClass::Error => EvictionReason::ErrorsFull,
            RetentionClass::Exemplar => EvictionReason::ExemplarsFull,
            RetentionClass::Sampled => EvictionReason::SampleThinned,
            RetentionClass::Latest => EvictionReason::Old,
        }
    }
}

/// A span of a trace that became an exemplar of a histogram, or ceased to be one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ExemplarChange {
    pub(crate) trace_id: TraceId,
    /// Whether it became an exemplar.
    pub(crate) added: bool,
}

/// The traces of each class by id, and the bytes of each class.
#[derive(Debug)]
pub(super) struct Retention {
    /// Bytes by class.
    bytes: [usize; 4],
    latest: BTreeSet<(u64, TraceId)>,
    errors: HashMap<u64, VecDeque<TraceId>, RandomState>,
    sample: BinaryHeap<(u64, TraceId)>,
    /// Traces with this rank or a higher one are not in the sample.
    sampled_below: u64,
}

/// The next step to free space.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum EvictionStep {
    /// Evict this trace.
    Evict(TraceId),
    /// Remove this trace from the class of errors.
    ClearError(TraceId),
    /// Remove this trace from the sample.
    ClearSampled(TraceId),
}

impl Retention {
    /// Returns an empty state whose sample takes traces with ranks below `sampled_below`.
    pub(super) fn new(sampled_below: u64) -> Self {
        Self {
            bytes: [0; 4],
            latest: BTreeSet::new(),
            errors: HashMap::default(),
            sample: BinaryHeap::new(),
            sampled_below,
        }
    }

    /// Adds a trace that just arrived and takes `bytes`.
    pub(super) fn add(&mut self, id: TraceId, sequence: u64, bytes: usize) -> KeepReasons {
        let mut reasons = KeepReasons::default();
        if id.rank() < self.sampled_below {
            reasons.sampled = true;
            self.sample.push((id.rank(), id));
        } else {
            self.latest.insert((sequence, id));
        }
        self.bytes[reasons.class() as usize] += bytes;
        reasons
    }

    /// Adds to the size of a trace.
    pub(super) fn add_bytes(&mut self, reasons: KeepReasons, bytes: usize) {
        self.bytes[reasons.class() as usize] += bytes;
    }

    /// Notes that a span of the trace failed, in the operation with this hash.
    pub(super) fn add_error(
        &mut self,
        (id, sequence, bytes): (TraceId, u64, usize),
        reasons: &mut KeepReasons,
        operation: u64,
    ) {
        if reasons.error {
            return;
        }
        let known = self.errors.len() < ERROR_OPERATIONS || self.errors.contains_key(&operation);
        self.errors.entry(if known { operation } else { 0 }).or_default().push_back(id);
        self.update((id, sequence, bytes), reasons, |reasons| reasons.error = true);
    }

    /// Removes the ids of evicted traces from the lists, once they outnumber the `stored` traces.
    pub(super) fn remove_stale(&mut self, stored: usize, is_stored: impl Fn(&TraceId) -> bool) {
        if self.sample.len() > 2 * stored + MAX_STALE_IDS {
            self.sample.retain(|(_, id)| is_stored(id));
        }
        if self.errors.values().map(VecDeque::len).sum::<usize>() > 2 * stored + MAX_STALE_IDS {
            self.errors.retain(|_, ids| {
                ids.retain(|id| is_stored(id));
                !ids.is_empty()
            });
        }
    }

    /// Changes the reasons to keep a trace.
    pub(super) fn update(
        &mut self,
        (id, sequence, bytes): (TraceId, u64, usize),
        reasons: &mut KeepReasons,
        change: impl FnOnce(&mut KeepReasons),
    ) {
        let before = reasons.class();
        change(reasons);
        let after = reasons.class();
        if before == after {
            return;
        }
        self.bytes[before as usize] -= bytes;
        self.bytes[after as usize] += bytes;
        if before == RetentionClass::Latest {
            self.latest.remove(&(sequence, id));
        }
        if after == RetentionClass::Latest {
            reasons.previous = before;
            self.latest.insert((sequence, id));
        }
    }

    /// Removes an evicted trace.
    pub(super) fn remove(&mut self, (id, sequence, bytes): (TraceId, u64, usize), reasons: KeepReasons) {
        self.bytes[reasons.class() as usize] -= bytes;
        if reasons.class() == RetentionClass::Latest {
            self.latest.remove(&(sequence, id));
        }
    }

    /// Returns the bytes of a class.
    pub(super) fn bytes(&self, class: RetentionClass) -> usize {
        self.bytes[class as usize]
    }

    /// Returns the rank from which traces are not sampled.
    pub(super) fn sampled_below(&self) -> u64 {
        self.sampled_below
    }

    /// Returns the fraction of all traces that is in the uniform sample.
    pub(super) fn sampled_share(&self) -> f64 {
        self.sampled_below as f64 / u64::MAX as f64
    }

    /// Returns the next step: of the class that exceeds its share most. `None` if exemplars must be reduced, or if no
    /// class has a trace to evict.
    pub(super) fn next_step(&mut self, max_bytes: usize) -> Option<EvictionStep> {
        let share = max_bytes / 4;
        let mut classes = [
            RetentionClass::Latest,
            RetentionClass::Sampled,
            RetentionClass::Error,
            RetentionClass::Exemplar,
        ];
        // The sort is stable: of two classes with the same excess, the less valuable one is chosen.
        classes.sort_by_key(|class| std::cmp::Reverse(self.bytes(*class).saturating_sub(share)));
        classes
            .into_iter()
            .take_while(|class| *class != RetentionClass::Exemplar)
            .find_map(|class| self.step_for(class))
    }

    fn step_for(&mut self, class: RetentionClass) -> Option<EvictionStep> {
        match class {
            RetentionClass::Latest => self.latest.first().map(|(_, id)| EvictionStep::Evict(*id)),
            RetentionClass::Sampled => self.sample.pop().map(|(rank, id)| {
                self.sampled_below = rank;
                EvictionStep::ClearSampled(id)
            }),
            RetentionClass::Error => {
                let (operation, most) = self.errors.iter_mut().max_by_key(|(_, traces)| traces.len())?;
                let (operation, oldest) = (*operation, most.pop_front());
                if most.is_empty() {
                    self.errors.remove(&operation);
                }
                oldest.map(EvictionStep::ClearError)
            }
            RetentionClass::Exemplar => None,
        }
    }
}

impl KeepReasons {
    /// Applies a change.
    pub(super) fn count(&mut self, change: ExemplarChange) {
        self.exemplars += if change.added { 1 } else { -1 };
    }
}
