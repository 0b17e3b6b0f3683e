//! Version 3's parameters: times in RFC 3339, durations in Go's syntax. All names have a `snake_case` alias.

use std::fmt::Display;

use crate::go_syntax::{parse_bool, parse_duration, parse_int, parse_time};
use crate::query::jaeger::error::ApiError;
use crate::query::jaeger::parameters::Parameters;
use crate::query::jaeger::search::{DEFAULT_LIMIT, Search, durations, limit, span_times, tag_map};
use crate::store::Query;

pub(super) fn search(parameters: &Parameters) -> Result<Search, ApiError> {
    let text = |name| parameters.aliased(name).map(|(_, value)| value.to_owned());
    let tags = optional(parameters, "query.attributes", tag_map)?.unwrap_or_default();
    let start = optional(parameters, "query.startTimeMin", parse_time)?;
    let end = optional(parameters, "query.startTimeMax", parse_time)?;
    let names = |min, max| (parameters.name_used(min), parameters.name_used(max));
    let (min_name, max_name) = names("query.startTimeMin", "query.startTimeMax");
    let (start, end) = start
        .zip(end)
        .ok_or_else(|| ApiError::bad_request(format!("{min_name} and {max_name} are required")))?;
    if start > end {
        return Err(ApiError::bad_request(format!("{min_name} must be before {max_name}")));
    }
    let min = optional(parameters, "query.durationMin", parse_duration)?.unwrap_or(0);
    let max = optional(parameters, "query.durationMax", parse_duration)?.unwrap_or(0);
    let (min_name, max_name) = names("query.durationMin", "query.durationMax");
    let duration_ns = durations(min, max)
        .ok_or_else(|| ApiError::bad_request(format!("{max_name} must not be less than {min_name}")))?;
    let query = Query {
        service: text("query.serviceName"),
        operation: text("query.operationName"),
        tags: tags.into_iter().collect(),
        start_ns: span_times(start, end),
        duration_ns,
        limit: search_depth(parameters)?,
    };
    let raw = optional(parameters, "query.rawTraces", parse_bool)?.unwrap_or(false);
    Ok(Search { query, raw })
}

/// Returns whether `/api/v3/traces/{id}` returns the trace unadjusted. The time range is only validated: this store finds
/// traces by id alone.
pub(super) fn trace(parameters: &Parameters) -> Result<bool, ApiError> {
    optional(parameters, "startTime", parse_time)?;
    optional(parameters, "endTime", parse_time)?;
    Ok(optional(parameters, "rawTraces", parse_bool)?.unwrap_or(false))
}

/// Returns service and kind; as in Jaeger, neither is required.
pub(super) fn operations(parameters: &Parameters) -> (String, Option<String>) {
    let service = parameters.first("service").unwrap_or_default().to_owned();
    (service, parameters.aliased("spanKind").map(|(_, kind)| kind.to_owned()))
}

pub(in crate::query::jaeger) fn malformed(name: &str, error: &dyn Display) -> ApiError {
    ApiError::bad_request(format!("malformed parameter {name}: {error}"))
}

fn optional<T, E: Display>(
    parameters: &Parameters,
    name: &'static str,
    parse: impl Fn(&str) -> Result<T, E>,
) -> Result<Option<T>, ApiError> {
    let Some((name, text)) = parameters.aliased(name) else { return Ok(None) };
    parse(text).map(Some).map_err(|error| malformed(&name, &error))
}

/// Parses `searchDepth` or its former name `numTraces`.
fn search_depth(parameters: &Parameters) -> Result<usize, ApiError> {
    let given = parameters.aliased("query.searchDepth").or_else(|| parameters.aliased("query.numTraces"));
    let Some((name, text)) = given else { return Ok(DEFAULT_LIMIT) };
    let number = parse_int(text).map_err(|error| malformed(&name, &error))?;
    limit(number).map_err(|error| malformed(&name, &error))
}
