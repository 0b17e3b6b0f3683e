//! Version 1's parameters: times in microseconds (for dependencies in milliseconds), durations in Go's syntax.

use std::collections::{BTreeMap, HashSet};
use std::fmt::Display;
use std::ops::RangeInclusive;

use crate::go_syntax;
use crate::query::jaeger::error::ApiError;
use crate::query::jaeger::parameters::{Parameters, parse_trace_id};
use crate::query::jaeger::search::{DEFAULT_LIMIT, Search, durations, limit, span_times, tag_map};
use crate::store::Query;
use crate::trace::TraceId;

/// In nanoseconds.
const MICROSECOND: i64 = 1000;
/// In nanoseconds.
pub(in crate::query::jaeger) const MILLISECOND: i64 = 1_000_000;
const HOUR_NS: i128 = 3_600_000_000_000;
const TRACES_LOOKBACK_NS: i128 = 48 * HOUR_NS;
const DEPENDENCIES_LOOKBACK_NS: i128 = 24 * HOUR_NS;

/// A request to `/api/traces`.
#[derive(Debug)]
pub(super) enum TracesQuery {
    Search(Search),
    Ids {
        /// Without duplicates.
        ids: Vec<TraceId>,
        /// Whether traces are returned unadjusted.
        raw: bool,
    },
}

pub(super) fn traces(parameters: &Parameters, now_ns: i128) -> Result<TracesQuery, ApiError> {
    let start = time(parameters, "start", MICROSECOND)?.unwrap_or(now_ns - TRACES_LOOKBACK_NS);
    let end = time(parameters, "end", MICROSECOND)?.unwrap_or(now_ns);
    let tags = tags(parameters)?;
    let limit = match parameters.first("limit") {
        None => DEFAULT_LIMIT,
        Some(text) => {
            let number =
                go_syntax::parse_int(text).map_err(|error| ApiError::bad_request(error.to_string()))?;
            limit(number)
                .map_err(|error| ApiError::bad_request(format!("invalid parameter: limit {error}")))?
        }
    };
    let (min, max) = (duration(parameters, "minDuration")?, duration(parameters, "maxDuration")?);
    let ids = ids(parameters)?;
    let raw = flag(parameters, "raw")?;
    let service = parameters.first("service");
    if ids.is_empty() && service.is_none() {
        return Err(service_is_required());
    }
    if start > end {
        return Err(ApiError::bad_request("invalid parameter: start time must be before end time"));
    }
    let duration_ns = durations(min, max)
        .ok_or_else(|| ApiError::bad_request("'maxDuration' should be greater than 'minDuration'"))?;
    if !ids.is_empty() {
        return Ok(TracesQuery::Ids { ids, raw });
    }
    let query = Query {
        service: service.map(str::to_owned),
        operation: parameters.first("operation").map(str::to_owned),
        tags,
        start_ns: span_times(start, end),
        duration_ns,
        limit,
    };
    Ok(TracesQuery::Search(Search { query, raw }))
}

/// Returns whether `/api/traces/{id}` returns the trace unadjusted. The time range is only validated: this store finds
/// traces by id alone.
pub(super) fn trace(parameters: &Parameters) -> Result<bool, ApiError> {
    time(parameters, "start", MICROSECOND)?;
    time(parameters, "end", MICROSECOND)?;
    flag(parameters, "raw")
}

/// Returns the start times of the spans whose dependencies are counted.
pub(super) fn dependencies(parameters: &Parameters, now_ns: i128) -> Result<RangeInclusive<u64>, ApiError> {
    let end = time(parameters, "endTs", MILLISECOND)?.unwrap_or(now_ns);
    let lookback = time(parameters, "lookback", MILLISECOND)?.unwrap_or(DEPENDENCIES_LOOKBACK_NS);
    if lookback < 0 {
        return Err(invalid("lookback", &"must not be negative"));
    }
    Ok(span_times(end - lookback, end))
}

/// Returns the required service and the optional kind.
pub(super) fn operations(parameters: &Parameters) -> Result<(String, Option<String>), ApiError> {
    let service = parameters.first("service").ok_or_else(service_is_required)?;
    Ok((service.to_owned(), parameters.first("spanKind").map(str::to_owned)))
}

/// Returns whether the JSON is indented: with any value of `prettyPrint` except `false`.
pub(super) fn is_pretty(parameters: &Parameters) -> bool {
    parameters.first("prettyPrint").is_some_and(|text| text != "false")
}

fn service_is_required() -> ApiError {
    ApiError::bad_request("parameter 'service' is required")
}

pub(in crate::query::jaeger) fn invalid(name: &str, error: &dyn Display) -> ApiError {
    ApiError::bad_request(format!("unable to parse param '{name}': {error}"))
}

/// Parses an integer of the given unit into nanoseconds.
pub(in crate::query::jaeger) fn time(
    parameters: &Parameters,
    name: &str,
    unit_ns: i64,
) -> Result<Option<i128>, ApiError> {
    let Some(text) = parameters.first(name) else { return Ok(None) };
    let ns = go_syntax::parse_int(text)
        .and_then(|number| number.checked_mul(unit_ns).ok_or_else(|| go_syntax::out_of_range(text)))
        .map_err(|error| invalid(name, &error))?;
    Ok(Some(ns.into()))
}

/// Parses a boolean; false if it is missing.
pub(in crate::query::jaeger) fn flag(parameters: &Parameters, name: &str) -> Result<bool, ApiError> {
    parameters.first(name).map_or(Ok(false), go_syntax::parse_bool).map_err(|error| invalid(name, &error))
}

/// Parses a duration into nanoseconds; zero if it is missing.
fn duration(parameters: &Parameters, name: &str) -> Result<u64, ApiError> {
    parameters.first(name).map_or(Ok(0), go_syntax::parse_duration).map_err(|error| invalid(name, &error))
}

/// Parses `tag=key:value` and `tags={"key":"value"}`. The last value of a key counts, and `tags` override `tag`.
fn tags(parameters: &Parameters) -> Result<Vec<(String, String)>, ApiError> {
    let mut tags = BTreeMap::new();
    for tag in parameters.all("tag") {
        let (key, value) = tag.split_once(':').ok_or_else(|| {
            let tag = go_syntax::truncated(tag);
            ApiError::bad_request(format!("malformed 'tag' parameter, expecting key:value, received: {tag}"))
        })?;
        tags.insert(key.to_owned(), value.to_owned());
    }
    for json in parameters.all("tags") {
        tags.extend(tag_map(json).map_err(|error| {
            ApiError::bad_request(format!("malformed 'tags' parameter, cannot unmarshal JSON: {error}"))
        })?);
    }
    Ok(tags.into_iter().collect())
}

/// Parses the trace ids. Jaeger returns a repeated id's trace repeatedly; here it is returned once, since thousands of
/// copies of a large trace would take gigabytes.
fn ids(parameters: &Parameters) -> Result<Vec<TraceId>, ApiError> {
    let mut seen = HashSet::new();
    let mut ids = Vec::new();
    for text in parameters.all("traceID") {
        let id = parse_trace_id(text).map_err(|error| {
            ApiError::bad_request(format!("cannot parse traceID param: {}", error.message))
        })?;
        if seen.insert(id) {
            ids.push(id);
        }
    }
    Ok(ids)
}
