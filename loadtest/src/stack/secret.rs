//! Random secrets.

use rand::distr::{Alphanumeric, SampleString as _};

/// Letters and digits that nobody can guess.
pub(crate) fn random(length: usize) -> String {
    Alphanumeric.sample_string(&mut rand::rng(), length)
}
