//! Limits and defaults of searches that both versions of the API share. Each version has its own names, units and error
//! texts for the parameters.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::time::SystemTime;

use crate::store::Query;

/// Default number of traces in a response.
pub(super) const DEFAULT_LIMIT: usize = 100;

/// Maximum number of traces in a response. The UI requests up to 1500.
const MAX_LIMIT: usize = 10_000;

#[derive(Debug)]
pub(super) struct Search {
    pub(super) query: Query,
    /// Whether traces are returned unadjusted.
    pub(super) raw: bool,
}

/// Returns the current time in nanoseconds since the epoch.
pub(super) fn now_ns() -> i128 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i128::try_from(since.as_nanos()).unwrap_or(i128::MAX)
}

#[derive(Debug, thiserror::Error)]
pub(super) enum LimitError {
    #[error("must be greater than 0")]
    TooLow,
    #[error("must not be greater than {MAX_LIMIT}")]
    TooHigh,
}

pub(super) fn limit(number: i64) -> Result<usize, LimitError> {
    match usize::try_from(number) {
        Err(_) | Ok(0) => Err(LimitError::TooLow),
        Ok(limit) if limit > MAX_LIMIT => Err(LimitError::TooHigh),
        Ok(limit) => Ok(limit),
    }
}

/// Clamps a window to the times that spans can have.
pub(super) fn span_times(from_ns: i128, to_ns: i128) -> RangeInclusive<u64> {
    let clamped = |ns: i128| u64::try_from(ns.max(0)).unwrap_or(u64::MAX);
    if to_ns < 0 {
        // Entirely before the epoch: empty, so that spans without a start time do not match.
        return RangeInclusive::new(1, 0);
    }
    clamped(from_ns)..=clamped(to_ns)
}

/// Returns the range of durations, or `None` if the maximum is less than the minimum. As in Jaeger, zero means unset.
pub(super) fn durations(min_ns: u64, max_ns: u64) -> Option<RangeInclusive<u64>> {
    match max_ns {
        0 => Some(min_ns..=u64::MAX),
        max_ns if max_ns < min_ns => None,
        max_ns => Some(min_ns..=max_ns),
    }
}

/// Parses `{"key":"value"}`. As in Go, null is an empty text.
pub(super) fn tag_map(json: &str) -> serde_json::Result<BTreeMap<String, String>> {
    let map: Option<BTreeMap<String, Option<String>>> = serde_json::from_str(json)?;
    let tags = map.unwrap_or_default().into_iter();
    Ok(tags.map(|(key, value)| (key, value.unwrap_or_default())).collect())
}
