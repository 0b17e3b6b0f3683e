//! Errors that other arguments or another set-up mend, and no repair: the process ends with 2 for them.

use system::config::ConfigError;
use system::service;

use crate::stack;

/// What the command line or the set-up lacks.
#[derive(Debug, thiserror::Error)]
#[error("{0:#}")]
pub(crate) struct UsageError(pub(crate) anyhow::Error);

/// Whether `error` is one of them.
pub(crate) fn is_usage(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        cause.is::<UsageError>()
            || cause.is::<ConfigError>()
            || cause.downcast_ref().is_some_and(service::Error::is_usage)
            || cause.downcast_ref().is_some_and(collector::Error::is_usage)
            || cause.downcast_ref().is_some_and(stack::Error::is_usage)
    })
}
