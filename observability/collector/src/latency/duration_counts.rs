//! A compact count of durations by bucket.
//!
//! An open slot has a sorted list. A packed one takes about a quarter of that: for each bucket the distance from the
//! previous one and the count in LEB128, mostly one byte each.

use super::buckets;

type Pair = (u16, u32);

#[derive(Debug, Clone)]
pub(super) enum DurationCounts {
    /// In ascending order of duration.
    Open(Vec<Pair>),
    Packed(Box<[u8]>),
}

impl DurationCounts {
    /// Returns empty counts with the capacity that another has.
    pub(super) fn like(other: Option<&Self>) -> Self {
        let buckets = match other {
            Some(Self::Open(pairs)) => pairs.len(),
            Some(Self::Packed(_)) | None => 1,
        };
        Self::Open(Vec::with_capacity(buckets))
    }

    pub(super) fn add(&mut self, duration_ns: u64) {
        if let Self::Packed(_) = self {
            *self = Self::Open(self.pairs());
        }
        let Self::Open(pairs) = self else { return };
        let bucket = buckets::of(duration_ns);
        match pairs.binary_search_by_key(&bucket, |(bucket, _)| *bucket) {
            Ok(at) => pairs[at].1 = pairs[at].1.saturating_add(1),
            Err(at) => pairs.insert(at, (bucket, 1)),
        }
    }

    pub(super) fn pack(&mut self) {
        let Self::Open(pairs) = self else { return };
        let mut bytes = Vec::with_capacity(pairs.len() * 3);
        let mut before = 0;
        for (bucket, count) in pairs {
            push(&mut bytes, u32::from(*bucket - before));
            push(&mut bytes, *count);
            before = *bucket;
        }
        *self = Self::Packed(bytes.into_boxed_slice());
    }

    /// Calls `each` with every bucket and its count.
    pub(super) fn for_each(&self, mut each: impl FnMut(u16, u32)) {
        match self {
            Self::Open(pairs) => pairs.iter().for_each(|(bucket, count)| each(*bucket, *count)),
            Self::Packed(bytes) => {
                let (mut bytes, mut bucket) = (bytes.iter(), 0);
                while let (Some(distance), Some(count)) = (pull(&mut bytes), pull(&mut bytes)) {
                    // At most the bucket that was encoded.
                    bucket += distance as u16;
                    each(bucket, count);
                }
            }
        }
    }

    fn pairs(&self) -> Vec<Pair> {
        let mut pairs = Vec::new();
        self.for_each(|bucket, count| pairs.push((bucket, count)));
        pairs
    }

    /// Returns the size on the heap.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::Open(pairs) => pairs.capacity() * size_of::<Pair>(),
            Self::Packed(bytes) => bytes.len(),
        }
    }
}

fn push(bytes: &mut Vec<u8>, mut number: u32) {
    while number >= 0x80 {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
}

fn pull<'a>(bytes: &mut impl Iterator<Item = &'a u8>) -> Option<u32> {
    let (mut number, mut shift) = (0, 0);
    loop {
        let byte = bytes.next()?;
        number |= u32::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(number);
        }
        shift += 7;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn counts_stay_in_order_when_durations_do_not() {
        let mut counts = DurationCounts::like(None);
        for duration_ns in [5_000_000, 3, 800, 3, u64::MAX] {
            counts.add(duration_ns);
        }
        let expected = [(3, 2), (buckets::of(800), 1), (buckets::of(5_000_000), 1), (1919, 1)];
        assert_eq!(counts.pairs(), expected);
        let open = counts.bytes();
        counts.pack();
        assert_eq!(counts.pairs(), expected);
        assert!(counts.bytes() <= 11 && open >= 32, "{} of {open}", counts.bytes());
        counts.add(4);
        assert_eq!(counts.pairs()[1], (4, 1), "packed counts accept more");
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn packing_preserves_counts(pairs in proptest::collection::btree_map(0..1920_u16, 1_u32.., 0..100)) {
            let pairs: Vec<Pair> = pairs.into_iter().collect();
            let mut counts = DurationCounts::Open(pairs.clone());
            counts.pack();
            prop_assert!(matches!(counts, DurationCounts::Packed(_)));
            prop_assert_eq!(counts.pairs(), pairs);
        }
    }
}
