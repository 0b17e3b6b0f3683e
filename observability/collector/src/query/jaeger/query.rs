//! From parameters to what the store is asked. Each version of the API has its own names, units and error texts; the
//! bounds are the same.

pub(super) mod v1;
pub(super) mod v3;

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::time::SystemTime;

use crate::store::Query;

/// Traces in a reply, unless the caller says how many.
const DEFAULT_LIMIT: usize = 100;

/// Traces in a reply at most. The UI asks for 1500 at most; all that is in the store would be a copy of it.
const MAX_LIMIT: usize = 10_000;

/// A search, and whether its traces are to be shown just as they came.
#[derive(Debug)]
pub(super) struct Search {
    pub(super) query: Query,
    pub(super) raw: bool,
}

/// Nanoseconds since the epoch.
pub(super) fn now_ns() -> i128 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i128::try_from(since.as_nanos()).unwrap_or(i128::MAX)
}

#[derive(Debug, thiserror::Error)]
enum BadLimit {
    #[error("must be greater than 0")]
    Low,
    #[error("must not be greater than {MAX_LIMIT}")]
    High,
}

fn limit(number: i64) -> Result<usize, BadLimit> {
    match usize::try_from(number) {
        Err(_) | Ok(0) => Err(BadLimit::Low),
        Ok(limit) if limit > MAX_LIMIT => Err(BadLimit::High),
        Ok(limit) => Ok(limit),
    }
}

/// The part of a window that spans can start in.
fn span_times(from_ns: i128, to_ns: i128) -> RangeInclusive<u64> {
    let clamped = |ns: i128| u64::try_from(ns.max(0)).unwrap_or(u64::MAX);
    if to_ns < 0 {
        // All before the epoch: empty, lest spans without a time match.
        return RangeInclusive::new(1, 0);
    }
    clamped(from_ns)..=clamped(to_ns)
}

/// Zero is as good as none, as it is to Jaeger. `None` if there can be no such duration.
fn durations(min_ns: u64, max_ns: u64) -> Option<RangeInclusive<u64>> {
    match max_ns {
        0 => Some(min_ns..=u64::MAX),
        max_ns if max_ns < min_ns => None,
        max_ns => Some(min_ns..=max_ns),
    }
}

/// `{"key":"value"}`; a null counts as an empty text, as it does to Go.
fn tag_map(json: &str) -> serde_json::Result<BTreeMap<String, String>> {
    let map: Option<BTreeMap<String, Option<String>>> = serde_json::from_str(json)?;
    let tags = map.unwrap_or_default().into_iter();
    Ok(tags.map(|(key, value)| (key, value.unwrap_or_default())).collect())
}
