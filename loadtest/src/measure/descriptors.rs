//! The number of file descriptors that the generator may open: one for each connection.

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// Limit to set if the hard one is higher or infinite, which some systems do not accept as a soft limit.
const MAX_LIMIT: u64 = 1 << 20;

/// Raises the soft limit to the hard one, and returns the limit; `None` if the system does not report it.
///
/// The soft limit is often 1024, because `select` supports no higher descriptor. The workbench does not use `select`.
pub(crate) fn raise_limit() -> Option<u64> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).ok()?;
    let hard = hard.min(MAX_LIMIT).max(soft);
    match setrlimit(Resource::RLIMIT_NOFILE, hard, hard) {
        Ok(()) => Some(hard),
        Err(_) => Some(soft),
    }
}
