//! The exemplars of each histogram bucket: a few traces whose durations fell into it.
//!
//! A bucket's exemplars are the traces with the lowest ranks, like the store's uniform sample: all operations of a
//! request get the same traces, and the store keeps many of them anyway.

use super::slowest::Slowest;
use crate::store::ExemplarChange;
use crate::trace::TraceId;

/// Exemplars per bucket. A bucket is half an octave wide.
const PER_BUCKET: usize = 2;

/// A trace, and the duration of one of its spans.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Exemplar {
    /// Id of the trace.
    pub trace_id: TraceId,
    /// Duration of the operation's span in this trace, in microseconds.
    pub duration_us: f64,
}

/// Traces from the buckets of the percentiles: their durations are between 2/3 and 3/2 of the percentile.
#[derive(Debug, Clone, PartialEq, Default, serde::Serialize, serde::Deserialize)]
pub struct Exemplars {
    /// Traces at the median.
    pub p50: Vec<Exemplar>,
    /// Traces at the 90th percentile.
    pub p90: Vec<Exemplar>,
    /// Traces at the 99th percentile.
    pub p99: Vec<Exemplar>,
    /// Traces at the 99.9th percentile.
    pub p999: Vec<Exemplar>,
    /// The slowest trace.
    pub max: Vec<Exemplar>,
}

type Bucket = [Option<(u64, TraceId)>; PER_BUCKET];

/// Exemplars by bucket, in ascending order of duration.
#[derive(Debug, Clone, Default)]
pub(super) struct ByBucket(Vec<Bucket>);

impl ByBucket {
    /// Adds the span if its trace has one of the lowest ranks in its bucket.
    pub(super) fn offer(&mut self, duration_ns: u64, id: TraceId, changes: &mut Vec<ExemplarChange>) {
        let index = bucket(duration_ns);
        if index >= self.0.len() {
            self.0.resize(index + 1, [None; PER_BUCKET]);
        }
        let exemplars = &mut self.0[index];
        // One trace may call an operation many times.
        if exemplars.iter().flatten().any(|(_, known)| *known == id) {
            return;
        }
        let rank = |exemplar: &Option<(u64, TraceId)>| exemplar.map(|(_, id)| id.rank());
        // An unused slot counts as the largest rank, so that it is filled first.
        let last = exemplars.iter_mut().max_by_key(|exemplar| rank(exemplar).map_or(u128::MAX, u128::from));
        let Some(last) = last.filter(|last| rank(last).is_none_or(|rank| id.rank() < rank)) else { return };
        if let Some((_, trace_id)) = last.replace((duration_ns, id)) {
            changes.push(ExemplarChange { trace_id, added: false });
        }
        changes.push(ExemplarChange { trace_id: id, added: true });
    }

    /// Removes these traces.
    pub(super) fn remove(&mut self, evicted: &[TraceId]) {
        for exemplar in self.0.iter_mut().flatten() {
            exemplar.take_if(|(_, id)| evicted.contains(id));
        }
    }

    /// Removes all exemplars.
    pub(super) fn clear(&mut self, changes: &mut Vec<ExemplarChange>) {
        let all = self.0.iter_mut().flatten().filter_map(Option::take);
        changes.extend(all.map(|(_, trace_id)| ExemplarChange { trace_id, added: false }));
    }

    pub(super) fn all(&self) -> Vec<(u64, TraceId)> {
        (0..self.0.len()).flat_map(|index| self.in_bucket(index)).collect()
    }

    pub(super) fn at_percentiles(&self, percentiles_ns: [u64; 4], slowest: &Slowest) -> Exemplars {
        let [p50, p90, p99, p999] = percentiles_ns.map(|ns| self.of(ns));
        let exemplar = |(duration_ns, trace_id)| Exemplar { trace_id, duration_us: duration_ns as f64 / 1e3 };
        let max = slowest.first().map(exemplar).into_iter().collect();
        Exemplars { p50, p90, p99, p999, max }
    }

    fn of(&self, duration_ns: u64) -> Vec<Exemplar> {
        let exemplar = |(ns, trace_id)| Exemplar { trace_id, duration_us: ns as f64 / 1e3 };
        self.in_bucket(bucket(duration_ns)).into_iter().map(exemplar).collect()
    }

    /// Returns the exemplars of a bucket, ordered by rank.
    fn in_bucket(&self, index: usize) -> Vec<(u64, TraceId)> {
        let mut exemplars: Vec<_> = self.0.get(index).into_iter().flatten().flatten().copied().collect();
        exemplars.sort_unstable_by_key(|(_, id)| id.rank());
        exemplars
    }

    pub(super) fn bytes(&self) -> usize {
        self.0.capacity() * size_of::<Bucket>()
    }
}

/// Returns the bucket of a duration: two per octave.
fn bucket(duration_ns: u64) -> usize {
    let octave = duration_ns.max(1).ilog2();
    let upper_half = octave > 0 && duration_ns >> (octave - 1) & 1 == 1;
    octave as usize * 2 + usize::from(upper_half)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_keeps_the_smallest_ranks_in_any_order_of_arrival() {
        let mut ids: Vec<TraceId> = (1..=100).map(TraceId).collect();
        let (mut forwards, mut backwards) = (ByBucket::default(), ByBucket::default());
        let mut changes = Vec::new();
        for id in &ids {
            forwards.offer(1000, *id, &mut changes);
        }
        for id in ids.iter().rev() {
            backwards.offer(1000, *id, &mut changes);
        }
        ids.sort_by_key(|id| id.rank());
        for by_bucket in [forwards, backwards] {
            let mut chosen: Vec<TraceId> =
                by_bucket.of(1010).iter().map(|exemplar| exemplar.trace_id).collect();
            chosen.sort_by_key(|id| id.rank());
            assert_eq!(chosen, ids[..PER_BUCKET]);
        }
    }

    #[test]
    fn changes_match_the_exemplars() {
        let (mut by_bucket, mut changes) = (ByBucket::default(), Vec::new());
        for id in 1..=1000_u128 {
            by_bucket.offer(id as u64 * 1000, TraceId(id), &mut changes);
        }
        by_bucket.offer(1000, TraceId(1), &mut changes);
        let count =
            |changes: &[ExemplarChange]| changes.iter().map(|c| if c.added { 1 } else { -1 }).sum::<i64>();
        assert_eq!(count(&changes), by_bucket.0.iter().flatten().flatten().count() as i64);
        by_bucket.clear(&mut changes);
        assert_eq!(count(&changes), 0);
        assert!(by_bucket.of(500_000).is_empty());
    }

    #[test]
    fn buckets_are_half_an_octave_wide() {
        let first = |index| (0..4096).find(|ns| bucket(*ns) >= index);
        assert_eq!(
            [first(18), first(19), first(20), first(21)],
            [Some(512), Some(768), Some(1024), Some(1536)]
        );
        assert_eq!(bucket(u64::MAX), 127);
    }
}
