//! How many retries a peer may cost: one for every ten calls, and a few at the start.

use std::sync::atomic::{AtomicI64, Ordering::Relaxed};

/// In tenths of a retry, so that a call deposits one.
#[derive(Debug)]
pub(super) struct RetryBudget(AtomicI64);

const RETRY: i64 = 10;
const CEILING: i64 = 10 * RETRY;

impl Default for RetryBudget {
    fn default() -> Self {
        Self(AtomicI64::new(CEILING))
    }
}

impl RetryBudget {
    /// A call was made.
    pub(super) fn deposit(&self) {
        if self.0.load(Relaxed) < CEILING {
            self.0.fetch_add(1, Relaxed);
        }
    }

    /// Takes one retry, if there is one left.
    pub(super) fn withdraw(&self) -> bool {
        self.0.fetch_update(Relaxed, Relaxed, |tenths| (tenths >= RETRY).then_some(tenths - RETRY)).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retries_are_bounded_by_the_calls_made() {
        let budget = RetryBudget::default();
        let first = std::iter::repeat_with(|| budget.withdraw()).take_while(|granted| *granted).count();
        assert_eq!(first, 10);
        for _ in 0..25 {
            budget.deposit();
        }
        let later = std::iter::repeat_with(|| budget.withdraw()).take_while(|granted| *granted).count();
        assert_eq!(later, 2);
    }
}
