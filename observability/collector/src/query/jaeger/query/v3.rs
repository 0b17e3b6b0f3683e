//! Version 3's parameters: times in RFC 3339, durations as Go writes them; all names have a `snake_case` alias.

use super::{DEFAULT_LIMIT, Search, durations, limit, span_times, tag_map};
use crate::go;
use crate::query::jaeger::parameters::Parameters;
use crate::query::jaeger::{Refusal, rfc3339};
use crate::store::Query;

pub(in crate::query::jaeger) fn search(parameters: &Parameters) -> Result<Search, Refusal> {
    let text = |name| parameters.aliased(name).map(|(_, value)| value.to_owned());
    let tags = read(parameters, "query.attributes", tag_map)?.unwrap_or_default();
    let times = read(parameters, "query.startTimeMin", rfc3339::parse)?.zip(read(
        parameters,
        "query.startTimeMax",
        rfc3339::parse,
    )?);
    let (start, end) = times
        .ok_or_else(|| Refusal::bad_request("query.startTimeMin and query.startTimeMax are required"))?;
    if start > end {
        return Err(Refusal::bad_request("query.startTimeMin must be before query.startTimeMax"));
    }
    let min = read(parameters, "query.durationMin", go::parse_duration)?.unwrap_or(0);
    let max = read(parameters, "query.durationMax", go::parse_duration)?.unwrap_or(0);
    let duration_ns = durations(min, max)
        .ok_or_else(|| Refusal::bad_request("query.durationMax must not be less than query.durationMin"))?;
    let query = Query {
        service: text("query.serviceName"),
        operation: text("query.operationName"),
        tags: tags.into_iter().collect(),
        start_ns: span_times(start, end),
        duration_ns,
        limit: depth(parameters)?,
    };
    let raw = read(parameters, "query.rawTraces", go::parse_bool)?.unwrap_or(false);
    Ok(Search { query, raw })
}

/// Of `/api/v3/traces/{id}`: whether the trace is to be shown just as it came. The store knows its traces by id alone,
/// so the times that some of Jaeger's stores need are only checked.
pub(in crate::query::jaeger) fn trace(parameters: &Parameters) -> Result<bool, Refusal> {
    read(parameters, "startTime", rfc3339::parse)?;
    read(parameters, "endTime", rfc3339::parse)?;
    Ok(read(parameters, "rawTraces", go::parse_bool)?.unwrap_or(false))
}

/// Service and kind; Jaeger requires neither.
pub(in crate::query::jaeger) fn operations(parameters: &Parameters) -> (String, Option<String>) {
    let service = parameters.first("service").unwrap_or_default().to_owned();
    (service, parameters.aliased("spanKind").map(|(_, kind)| kind.to_owned()))
}

pub(in crate::query::jaeger) fn malformed(name: &str, error: &dyn std::fmt::Display) -> Refusal {
    Refusal::bad_request(format!("malformed parameter {name}: {error}"))
}

fn read<T, E: std::fmt::Display>(
    parameters: &Parameters,
    name: &'static str,
    parse: impl Fn(&str) -> Result<T, E>,
) -> Result<Option<T>, Refusal> {
    let Some((name, text)) = parameters.aliased(name) else { return Ok(None) };
    parse(text).map(Some).map_err(|error| malformed(&name, &error))
}

/// `searchDepth` had yet another name once.
fn depth(parameters: &Parameters) -> Result<usize, Refusal> {
    for name in ["query.searchDepth", "query.numTraces"] {
        if let Some(number) = read(parameters, name, go::parse_int)? {
            return limit(number).map_err(|error| malformed(name, &error));
        }
    }
    Ok(DEFAULT_LIMIT)
}
