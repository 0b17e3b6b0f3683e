//! Log-linear buckets of durations: 32 per octave, so a bucket is at most 1/32 (3.2 %) of its durations wide.
//!
//! Below 64 ns a bucket is 1 ns wide; above, the six highest bits of a duration and its magnitude determine the
//! bucket.

const BITS: u32 = 5;
const PER_OCTAVE: u16 = 1 << BITS;

/// Number of buckets.
pub(super) const COUNT: usize = of(u64::MAX) as usize + 1;

/// Returns the bucket of a duration.
pub(super) const fn of(duration_ns: u64) -> u16 {
    let shift = (duration_ns | (2 * PER_OCTAVE as u64 - 1)).ilog2() - BITS;
    // At most 58 * 32 + 63.
    (shift as u64 * PER_OCTAVE as u64 + (duration_ns >> shift)) as u16
}

/// Returns the middle of a bucket in nanoseconds, which represents all its durations.
pub(super) fn middle(bucket: usize) -> f64 {
    let per_octave = usize::from(PER_OCTAVE);
    let shift = (bucket / per_octave).saturating_sub(1);
    let lowest = ((bucket - shift * per_octave) as u64) << shift;
    let widest = (1_u64 << shift) - 1;
    lowest as f64 + widest as f64 / 2.0
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn buckets_are_contiguous() {
        for duration in 1..1 << 20 {
            let step = of(duration) - of(duration - 1);
            assert!(step <= 1, "{duration} is {step} buckets behind the one before it");
        }
        assert_eq!((of(0), of(63), of(64), of(65), of(66)), (0, 63, 64, 64, 65));
        assert_eq!((middle(63), middle(64)), (63.0, 64.5));
        assert_eq!(of(u64::MAX), 1919);
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn the_middle_of_a_bucket_is_close_to_its_durations(bits in 0..64_u32, low in any::<u64>()) {
            let duration = (1 << bits) | (low & ((1 << bits) - 1));
            let middle = middle(usize::from(of(duration)));
            prop_assert!((middle - duration as f64).abs() <= duration as f64 / 64.0, "{duration} for {middle}");
        }
    }
}
