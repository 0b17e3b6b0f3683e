//! Usage and configuration errors; exit status 2.

/// An error that other arguments or another configuration would avoid.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub(crate) struct UsageError(pub(crate) anyhow::Error);
