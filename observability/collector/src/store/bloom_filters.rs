//! The Bloom filters of one trace: which search terms its spans may contain.
//!
//! Each filter has 512 bits and takes about 37 terms (six probes each set a third of the bits), which gives a false positive
//! rate of one in 700 per filter; further terms go into the next filter.
//! Formula: Bloom, "Space/time trade-offs in hash coding with allowable errors", CACM 13(7), 1970.
//!
//! Considered: the crates `bloomfilter` and `fastbloom`. Both size a filter for a number of items given up front and hash
//! the items themselves; a trace grows span by span, and its terms are hashes already.

/// Set bits of a full filter.
const FULL: u32 = 176;
const PROBES: u32 = 6;

/// Number of most recent filters that are checked for a term before it is added. Checking all of them would make adding slower
/// the larger the trace, so a trace with more filters may hold a term twice.
const CHECKED_FILTERS: usize = 4;

/// The filters of one trace.
#[derive(Debug, Clone, Default)]
pub(super) struct BloomFilters {
    blocks: Vec<[u64; 8]>,
    /// Set bits of the last filter.
    set: u32,
}

impl BloomFilters {
    /// Adds a term.
    pub(super) fn add(&mut self, term: u64) {
        if self.blocks.iter().rev().take(CHECKED_FILTERS).any(|block| contains(block, term)) {
            return;
        }
        if self.blocks.is_empty() || self.set >= FULL {
            // Most traces need few filters, so the vector does not double.
            self.blocks.reserve_exact(1 + self.blocks.len() / 4);
            self.blocks.push([0; 8]);
            self.set = 0;
        }
        let Some(block) = self.blocks.last_mut() else { return };
        for bit in bits(term) {
            let word = &mut block[bit >> 6];
            self.set += u32::from(*word >> (bit & 63) & 1 == 0);
            *word |= 1 << (bit & 63);
        }
    }

    /// Returns whether the term may have been added: false positives are possible, false negatives are not.
    pub(super) fn may_contain(&self, term: u64) -> bool {
        self.blocks.iter().any(|block| contains(block, term))
    }

    /// Returns the size on the heap.
    pub(super) fn bytes(&self) -> usize {
        self.blocks.capacity() * size_of::<[u64; 8]>()
    }
}

fn contains(block: &[u64; 8], term: u64) -> bool {
    bits(term).all(|bit| block[bit >> 6] >> (bit & 63) & 1 == 1)
}

/// Returns the bit for each probe: nine bits of the hash each.
fn bits(term: u64) -> impl Iterator<Item = usize> {
    (0..PROBES).map(move |probe| (term >> (9 * probe)) as usize & 511)
}

#[cfg(test)]
mod tests {
    use super::super::search_terms::term;
    use super::*;

    #[test]
    fn contains_every_added_term_and_few_others() {
        let mut filters = BloomFilters::default();
        for number in 0..1000_u32 {
            filters.add(term("key", &number.to_string()));
        }
        assert!((0..1000).all(|number: u32| filters.may_contain(term("key", &number.to_string()))));
        let blocks = filters.blocks.len();
        assert!((20..=32).contains(&blocks), "{blocks} filters");
        let probed = 100_000;
        let wrong =
            (0..probed).filter(|number| filters.may_contain(term("other", &number.to_string()))).count();
        assert!(wrong as f64 / f64::from(probed) < 0.0025 * blocks as f64, "{wrong} of {probed}");
    }

    #[test]
    fn adding_a_term_again_takes_no_space() {
        let mut filters = BloomFilters::default();
        for _ in 0..1000 {
            filters.add(term("http.request.method", "GET"));
        }
        assert_eq!((filters.blocks.len(), filters.set <= PROBES), (1, true));
    }
}
