//! Log lines: their format and their way to stdout.

pub(crate) mod json;
pub(crate) mod writer;
