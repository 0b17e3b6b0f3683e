//! Registered trace groups, whose spans are counted apart from all others.

use super::group_counts::GroupCounts;
use super::hop::Hop;
use super::series::Series;
use super::{Latencies, Measurement, all};
use crate::trace::TraceGroup;

/// Maximum number of groups. A registration beyond it removes the group that was registered first.
pub(crate) const MAX_GROUPS: usize = 24;

/// Maximum number of histograms of all groups for a small memory limit; for larger ones half the number of series.
const MIN_HISTOGRAMS: usize = 384;

/// Histograms that are free at a registration: enough for the operations of one group.
const RESERVED_HISTOGRAMS: usize = 128;

/// The registered groups, first registered first.
#[derive(Debug, Default)]
pub(super) struct Groups {
    registered: Vec<TraceGroup>,
    histograms: usize,
    overflow: u64,
}

/// The rows of one group.
#[derive(Debug)]
pub(crate) struct GroupHops {
    /// Ordered by service, operation and kind; without exemplars and rates.
    pub(crate) hops: Vec<Hop>,
    /// Spans of any group that are in no row, because the numbers of series and of histograms are bounded.
    pub(crate) overflow: u64,
}

impl Groups {
    /// Returns whether spans of `group` are counted apart.
    pub(super) fn contains(&self, group: TraceGroup) -> bool {
        // The last group that was registered is usually the one under way.
        self.registered.iter().rev().any(|registered| *registered == group)
    }

    /// Counts a span of a registered group.
    pub(super) fn record(&mut self, series: &mut Series, max_series: usize, measurement: Measurement<'_>) {
        let group = measurement.group;
        if let Some(counts) = series.groups.iter_mut().find(|counts| counts.group() == group) {
            counts.record(measurement);
        } else if self.histograms < max_histograms(max_series)
            && let Some(mut counts) = GroupCounts::new(group)
        {
            counts.record(measurement);
            series.groups.push(counts);
            self.histograms += 1;
        } else {
            self.overflow += 1;
        }
    }

    /// Counts a span without a series, if its group is registered.
    pub(super) fn count_without_series(&mut self, group: TraceGroup) {
        self.overflow += u64::from(self.contains(group));
    }
}

impl Latencies {
    /// Counts the spans of `group` apart from now on. Removes the oldest groups if there are too many.
    pub(crate) fn register_group(&mut self, group: TraceGroup) {
        if self.groups.contains(group) {
            return;
        }
        let max = max_histograms(self.max_series) - RESERVED_HISTOGRAMS;
        while self.groups.registered.len() >= MAX_GROUPS
            || (self.groups.histograms > max && !self.groups.registered.is_empty())
        {
            let oldest = self.groups.registered.remove(0);
            let (mut removed, mut bytes) = (0, 0);
            for series in all(&mut self.services) {
                let before = series.bytes();
                removed += series.groups.extract_if(.., |counts| counts.group() == oldest).count();
                bytes += before - series.bytes();
            }
            self.groups.histograms -= removed;
            self.bytes -= bytes;
        }
        self.groups.registered.push(group);
    }

    /// Returns the rows of a registered group; `None` for any other.
    pub(crate) fn group_hops(&self, group: TraceGroup, histograms: bool) -> Option<GroupHops> {
        if !self.groups.contains(group) {
            return None;
        }
        let mut hops: Vec<Hop> = self
            .rows()
            .filter_map(|((service, operation, kind), series)| {
                let counts = series.groups.iter().find(|counts| counts.group() == group)?;
                Some(counts.hop((service.to_owned(), operation.to_owned(), kind), histograms))
            })
            .collect();
        hops.sort_by(|a, b| (&a.service, &a.operation, a.kind).cmp(&(&b.service, &b.operation, b.kind)));
        Some(GroupHops { hops, overflow: self.groups.overflow })
    }
}

fn max_histograms(max_series: usize) -> usize {
    (max_series / 2).max(MIN_HISTOGRAMS)
}
