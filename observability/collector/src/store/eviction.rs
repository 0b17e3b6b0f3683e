//! What is remembered of an evicted trace.

use super::recent_ids::VALUES;
use super::retention::EvictionReason;

const REASONS: u8 = EvictionReason::ALL.len() as u8;
const COMPLETENESS: [Option<bool>; 3] = [None, Some(true), Some(false)];

// Every combination fits in the value of a remembered id.
const _: () = assert!(REASONS * COMPLETENESS.len() as u8 <= VALUES);

/// The end of a trace in the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Eviction {
    pub(crate) reason: EvictionReason,
    /// Whether no span of the trace was missing when it was evicted; `None` in files of schema 1.
    pub(crate) was_complete: Option<bool>,
}

impl Eviction {
    /// Returns the eviction as a small number.
    pub(super) fn note(self) -> u8 {
        let completeness = COMPLETENESS.iter().position(|one| *one == self.was_complete).unwrap_or_default();
        completeness as u8 * REASONS + self.reason as u8
    }

    /// Returns the eviction with this number; `None` for any other number.
    pub(super) fn from_note(note: u8) -> Option<Self> {
        let reason = EvictionReason::ALL[usize::from(note % REASONS)];
        COMPLETENESS
            .get(usize::from(note / REASONS))
            .map(|was_complete| Self { reason, was_complete: *was_complete })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_eviction_has_a_number_of_its_own() {
        for (number, completeness) in COMPLETENESS.into_iter().enumerate() {
            for reason in EvictionReason::ALL {
                let eviction = Eviction { reason, was_complete: completeness };
                assert_eq!(eviction.note(), number as u8 * REASONS + reason as u8);
                assert_eq!(Eviction::from_note(eviction.note()), Some(eviction));
            }
        }
        assert_eq!(Eviction::from_note(REASONS * 3), None);
    }
}
