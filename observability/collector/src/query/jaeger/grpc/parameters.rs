//! Searches and time ranges of requests.

use std::collections::HashMap;
use std::fmt::Display;
use std::ops::RangeInclusive;

use prost_types::{Duration, Timestamp};

use crate::otlp;
use crate::otlp::text::as_text;
use crate::query::jaeger::error::ApiError;
use crate::query::jaeger::protocol::api_v3::{GetDependenciesRequest, TraceQueryParameters};
use crate::query::jaeger::protocol::storage;
use crate::query::jaeger::search::{DEFAULT_LIMIT, Search, durations, limit, span_times};
use crate::query::jaeger::v3::malformed;
use crate::store::Query;
use crate::trace::{Attribute, TraceId};

/// The zero value of Go's time, the first second of the year 1. Go's clients send it for an unset time.
const UNSET_SECONDS: i64 = -62_135_596_800;

/// Returns the search of version 2. Without times it has no window.
pub(super) fn search_v2(query: Option<TraceQueryParameters>) -> Result<Search, ApiError> {
    search(query.ok_or_else(missing_query)?)
}

/// Returns the search of version 3, which requires a window.
pub(super) fn search_v3(query: Option<TraceQueryParameters>) -> Result<Search, ApiError> {
    let query = query.ok_or_else(missing_query)?;
    if ns(query.start_time_min).is_none() || ns(query.start_time_max).is_none() {
        return Err(ApiError::bad_request("query.start_time_min and query.start_time_max are required"));
    }
    search(query)
}

/// Returns the search of a storage. Without times it has no window; its traces are unadjusted.
pub(super) fn search_storage(query: Option<storage::TraceQueryParameters>) -> Result<Search, ApiError> {
    let query = query.ok_or_else(missing_query)?;
    let mut search = search(TraceQueryParameters {
        service_name: query.service_name,
        operation_name: query.operation_name,
        attributes: HashMap::new(),
        start_time_min: query.start_time_min,
        start_time_max: query.start_time_max,
        duration_min: query.duration_min,
        duration_max: query.duration_max,
        search_depth: query.search_depth,
        raw_traces: true,
        filter: query.filter,
    })?;
    let text = |Attribute { key, value }: Attribute| (key, as_text(&value).into_owned());
    search.query.tags = otlp::attributes(&query.attributes).into_iter().map(text).collect();
    Ok(search)
}

fn search(query: TraceQueryParameters) -> Result<Search, ApiError> {
    if query.filter.is_some() {
        return Err(malformed("query.filter", &"structured filters are not supported"));
    }
    let start = ns(query.start_time_min).unwrap_or(0);
    let end = ns(query.start_time_max).unwrap_or(i128::MAX);
    if start > end {
        return Err(ApiError::bad_request("query.start_time_min must be before query.start_time_max"));
    }
    let min = duration_ns("query.duration_min", query.duration_min)?;
    let max = duration_ns("query.duration_max", query.duration_max)?;
    let duration_ns = durations(min, max).ok_or_else(|| {
        ApiError::bad_request("query.duration_max must not be less than query.duration_min")
    })?;
    let limit = match query.search_depth {
        0 => DEFAULT_LIMIT,
        depth => limit(depth.into()).map_err(|error| malformed("query.search_depth", &error))?,
    };
    let unless_empty = |text: String| (!text.is_empty()).then_some(text);
    let raw = query.raw_traces;
    let query = Query {
        service: unless_empty(query.service_name),
        operation: unless_empty(query.operation_name),
        tags: query.attributes.into_iter().collect(),
        start_ns: span_times(start, end),
        duration_ns,
        limit,
    };
    Ok(Search { query, raw })
}

/// Returns the times of the spans whose dependencies are counted.
pub(super) fn dependencies(request: GetDependenciesRequest) -> Result<RangeInclusive<u64>, ApiError> {
    let (start, end) = ns(request.start_time)
        .zip(ns(request.end_time))
        .ok_or_else(|| ApiError::bad_request("start_time and end_time are required"))?;
    if start > end {
        return Err(ApiError::bad_request("end_time must be after start_time"));
    }
    Ok(span_times(start, end))
}

/// Parses an id of 16 bytes, or one of 8 bytes as the low half.
pub(super) fn trace_id(bytes: &[u8]) -> Result<TraceId, ApiError> {
    let invalid = |reason: &dyn Display| malformed("trace_id", reason);
    let id = match bytes.len() {
        8 => bytes.iter().fold(0, |id, byte| id << 8 | u128::from(*byte)),
        0 | 16 => TraceId::from_bytes(bytes).map_or(0, |id| id.0),
        length => return Err(invalid(&format!("it has {length} bytes instead of 16 or 8"))),
    };
    if id == 0 { Err(invalid(&"it is missing or zero")) } else { Ok(TraceId(id)) }
}

fn missing_query() -> ApiError {
    ApiError::bad_request("missing query")
}

/// Returns nanoseconds since the epoch; `None` for an unset time.
fn ns(time: Option<Timestamp>) -> Option<i128> {
    let Timestamp { seconds, nanos } = time?;
    let is_unset = (seconds, nanos) == (UNSET_SECONDS, 0);
    (!is_unset).then(|| i128::from(seconds) * 1_000_000_000 + i128::from(nanos))
}

/// Returns a duration in nanoseconds; zero if it is unset.
fn duration_ns(name: &str, duration: Option<Duration>) -> Result<u64, ApiError> {
    let Duration { seconds, nanos } = duration.unwrap_or_default();
    let ns = i128::from(seconds) * 1_000_000_000 + i128::from(nanos);
    if ns < 0 {
        return Err(malformed(name, &"must not be negative"));
    }
    Ok(u64::try_from(ns).unwrap_or(u64::MAX))
}
