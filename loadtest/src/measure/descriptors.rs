//! The number of file descriptors that the generator may open: one for each connection.

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// Soft limit to set if the hard one is higher or infinite, which some systems do not accept as a soft limit.
const MAX_LIMIT: u64 = 1 << 20;

/// Minimum limit of a load. Its runtime, log, exporter and the collector's client use about 30 descriptors.
const MIN_LIMIT: u64 = 64;

/// The limit is so low that a load would fail before its first request, or measure the limit.
#[derive(Debug, thiserror::Error)]
#[error("the limit of {0} file descriptors is below the minimum of {MIN_LIMIT} (raise it with ulimit -n)")]
pub(crate) struct TooFewDescriptors(u64);

/// Raises the soft limit to the hard one. Fails if the hard one is below 64.
///
/// The soft limit is often 1024, because `select` supports no higher descriptor. The workbench does not use `select`.
pub(crate) fn raise_limit() -> Result<(), TooFewDescriptors> {
    if let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE)
        && soft < hard.min(MAX_LIMIT)
    {
        // Without it, the soft limit applies, which is checked below.
        let _ = setrlimit(Resource::RLIMIT_NOFILE, hard.min(MAX_LIMIT), hard);
    }
    match limit() {
        Some(limit) if limit < MIN_LIMIT => Err(TooFewDescriptors(limit)),
        _ => Ok(()),
    }
}

/// Returns the limit; `None` if the system does not report it.
pub(crate) fn limit() -> Option<u64> {
    getrlimit(Resource::RLIMIT_NOFILE).ok().map(|(soft, _)| soft)
}
