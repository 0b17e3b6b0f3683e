//! Random secrets.

use rand::distr::{Alphanumeric, SampleString as _};

/// Returns random letters and digits.
pub(crate) fn random(length: usize) -> String {
    Alphanumeric.sample_string(&mut rand::rng(), length)
}
