//! Errors that other arguments or another set-up mend, and no repair: the process ends with 2 for them.

/// What the command line or the set-up lacks.
#[derive(Debug, thiserror::Error)]
#[error("{0:#}")]
pub(crate) struct UsageError(pub(crate) anyhow::Error);
