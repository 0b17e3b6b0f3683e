//! Log lines: their format, and the writer to stdout.

pub(crate) mod file;
pub(crate) mod json;
pub(crate) mod writer;
