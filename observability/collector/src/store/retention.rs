//! What is kept when not everything fits, and why:
//!
//! - **Errors**: a trace with a failed span, the latest of each operation that failed. Somebody will ask for them.
//! - **The slowest** of each operation since the start, and the **exemplars** of each bucket of its histogram: a
//!   percentile that nobody can look into is a rumour.
//! - **A uniform sample** of all traces: what is usual, and a distribution that can be trusted. Which traces are in it is
//!   decided by their ids alone, so nothing about a trace makes it likelier to stay.
//! - **The latest**: what just came, so that it can still become one of the above, and late spans find their trace.
//!
//! Each of the four has a quarter of the store. One that needs less leaves the rest to the others; when the store is full,
//! the one that is furthest beyond its quarter gives: errors the oldest of the operation that has most, the slowest
//! the less slow half of the operation whose traces weigh most, the sample those with the largest ranks, the latest the
//! oldest. Whole traces leave, never single spans, and each is counted with the reason.

use std::collections::{BTreeSet, BinaryHeap, HashMap, VecDeque};

use foldhash::fast::RandomState;

use super::entry::Entry;
use crate::trace::TraceId;

/// Operations whose errors are told apart; those of further ones count as one.
const ERROR_OPERATIONS: usize = 1024;

/// Ids of traces that are gone are no harm while they are few.
const SOME: usize = 1000;

/// Why a trace is kept. A trace stands under the first that holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Class {
    /// A span of it failed.
    Error,
    /// It is among the slowest of an operation, or an exemplar.
    Telling,
    /// It is in the uniform sample.
    Sampled,
    /// It just came.
    #[default]
    Latest,
}

impl Class {
    pub(crate) const ALL: [Self; 4] = [Self::Error, Self::Telling, Self::Sampled, Self::Latest];

    /// As the API names it.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Telling => "slowest",
            Self::Sampled => "sampled",
            Self::Latest => "latest",
        }
    }
}

/// Why a trace left.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Reason {
    /// It was never anything but recent.
    Old,
    /// There were more errors than fit.
    Errors,
    /// There were more slow traces and exemplars than fit.
    Telling,
    /// The uniform sample was thinned.
    Sampled,
    /// It alone would have taken too large a part of the store.
    TooLarge,
}

impl Reason {
    pub(crate) const ALL: [Self; 5] = [Self::Old, Self::Errors, Self::Telling, Self::Sampled, Self::TooLarge];

    /// As metrics and the ledger name it.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Old => "old",
            Self::Errors => "errors_full",
            Self::Telling => "slowest_full",
            Self::Sampled => "sample_thinned",
            Self::TooLarge => "too_large",
        }
    }
}

/// What a trace is kept for.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Marks {
    pub(super) error: bool,
    pub(super) sampled: bool,
    /// How many of its spans are among the slowest, or exemplars. It adds up in whichever order the changes are counted.
    telling: i32,
    /// What it was kept for before it was not any more.
    was: Class,
}

impl Marks {
    pub(super) fn class(&self) -> Class {
        if self.error {
            Class::Error
        } else if self.telling > 0 {
            Class::Telling
        } else if self.sampled {
            Class::Sampled
        } else {
            Class::Latest
        }
    }

    pub(super) fn reason(&self) -> Reason {
        match self.was {
            Class::Error => Reason::Errors,
            Class::Telling => Reason::Telling,
            Class::Sampled => Reason::Sampled,
            Class::Latest => Reason::Old,
        }
    }
}

/// What became or is no longer telling, as the histograms saw it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Change {
    pub(crate) trace_id: TraceId,
    /// One more of its spans is telling, or one less.
    pub(crate) telling: bool,
}

/// Which traces stand where, and how much room each class takes. Knows the traces by id alone.
#[derive(Debug)]
pub(super) struct Retention {
    /// Bytes by class.
    bytes: [usize; 4],
    latest: BTreeSet<(u64, TraceId)>,
    errors: HashMap<u64, VecDeque<TraceId>, RandomState>,
    sample: BinaryHeap<(u64, TraceId)>,
    /// Traces with numbers from here on are not in the sample.
    sampled_below: u64,
}

/// What has to happen for some room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// This trace leaves.
    Evict(TraceId),
    /// This one is no longer kept for its errors.
    NoError(TraceId),
    /// This one is no longer in the sample.
    NotSampled(TraceId),
}

impl Retention {
    /// With the traces of ranks below this one in the sample, at first.
    pub(super) fn new(sampled_below: u64) -> Self {
        Self {
            bytes: [0; 4],
            latest: BTreeSet::new(),
            errors: HashMap::default(),
            sample: BinaryHeap::new(),
            sampled_below,
        }
    }

    /// A trace that just came, with the room that it takes.
    pub(super) fn enter(&mut self, id: TraceId, seen: u64, bytes: usize) -> Marks {
        let mut marks = Marks::default();
        if id.rank() < self.sampled_below {
            marks.sampled = true;
            self.sample.push((id.rank(), id));
        } else {
            self.latest.insert((seen, id));
        }
        self.bytes[marks.class() as usize] += bytes;
        marks
    }

    pub(super) fn grow(&mut self, marks: Marks, bytes: usize) {
        self.bytes[marks.class() as usize] += bytes;
    }

    /// A span of the trace failed, in the operation with this hash.
    pub(super) fn fail(
        &mut self,
        (id, seen, bytes): (TraceId, u64, usize),
        marks: &mut Marks,
        operation: u64,
    ) {
        if marks.error {
            return;
        }
        let known = self.errors.len() < ERROR_OPERATIONS || self.errors.contains_key(&operation);
        self.errors.entry(if known { operation } else { 0 }).or_default().push_back(id);
        self.change((id, seen, bytes), marks, |marks| marks.error = true);
    }

    /// Forgets traces that left otherwise than by its decision, once they are more than those that are here.
    pub(super) fn forget_absent(&mut self, here: &HashMap<TraceId, Box<Entry>, RandomState>) {
        if self.sample.len() > 2 * here.len() + SOME {
            self.sample.retain(|(_, id)| here.contains_key(id));
        }
        if self.errors.values().map(VecDeque::len).sum::<usize>() > 2 * here.len() + SOME {
            self.errors.retain(|_, ids| {
                ids.retain(|id| here.contains_key(id));
                !ids.is_empty()
            });
        }
    }

    /// Changes what a trace is kept for.
    pub(super) fn change(
        &mut self,
        (id, seen, bytes): (TraceId, u64, usize),
        marks: &mut Marks,
        change: impl FnOnce(&mut Marks),
    ) {
        let before = marks.class();
        change(marks);
        let after = marks.class();
        if before == after {
            return;
        }
        self.bytes[before as usize] -= bytes;
        self.bytes[after as usize] += bytes;
        if before == Class::Latest {
            self.latest.remove(&(seen, id));
        }
        if after == Class::Latest {
            marks.was = before;
            self.latest.insert((seen, id));
        }
    }

    pub(super) fn leave(&mut self, (id, seen, bytes): (TraceId, u64, usize), marks: Marks) {
        self.bytes[marks.class() as usize] -= bytes;
        if marks.class() == Class::Latest {
            self.latest.remove(&(seen, id));
        }
    }

    /// Bytes by class.
    pub(super) fn bytes(&self, class: Class) -> usize {
        self.bytes[class as usize]
    }

    pub(super) fn sampled_below(&self) -> u64 {
        self.sampled_below
    }

    /// The share of all traces that is in the uniform sample.
    pub(super) fn sampled_share(&self) -> f64 {
        self.sampled_below as f64 / u64::MAX as f64
    }

    /// What the class furthest beyond its share gives. `None` if that is the telling ones, or if no other has anything.
    pub(super) fn next(&mut self, max_bytes: usize) -> Option<Step> {
        let share = max_bytes / 4;
        let mut classes = [Class::Latest, Class::Sampled, Class::Error, Class::Telling];
        // Stable: of two that are equally far beyond, the one that is less missed gives.
        classes.sort_by_key(|class| std::cmp::Reverse(self.bytes(*class).saturating_sub(share)));
        classes.into_iter().take_while(|class| *class != Class::Telling).find_map(|class| self.give(class))
    }

    fn give(&mut self, class: Class) -> Option<Step> {
        match class {
            Class::Latest => self.latest.first().map(|(_, id)| Step::Evict(*id)),
            Class::Sampled => self.sample.pop().map(|(rank, id)| {
                self.sampled_below = rank;
                Step::NotSampled(id)
            }),
            Class::Error => {
                let (operation, most) = self.errors.iter_mut().max_by_key(|(_, traces)| traces.len())?;
                let (operation, oldest) = (*operation, most.pop_front());
                if most.is_empty() {
                    self.errors.remove(&operation);
                }
                oldest.map(Step::NoError)
            }
            Class::Telling => None,
        }
    }
}

impl Marks {
    pub(super) fn count(&mut self, change: Change) {
        self.telling += if change.telling { 1 } else { -1 };
    }
}
