//! Version 1's parameters: times in microseconds (of dependencies in milliseconds), durations as Go writes them.

pub(in crate::query::jaeger) mod metrics;

use std::collections::{BTreeMap, HashSet};
use std::ops::RangeInclusive;

use super::{DEFAULT_LIMIT, Search, durations, limit, span_times, tag_map};
use crate::go;
use crate::query::jaeger::parameters::Parameters;
use crate::query::jaeger::{Refusal, trace_id};
use crate::store::Query;
use crate::trace::TraceId;

const MICROSECOND: i64 = 1000;
const MILLISECOND: i64 = 1_000_000;
const HOUR_NS: i128 = 3_600_000_000_000;
const TRACES_LOOKBACK_NS: i128 = 48 * HOUR_NS;
const DEPENDENCIES_LOOKBACK_NS: i128 = 24 * HOUR_NS;

/// What `/api/traces` is asked for.
#[derive(Debug)]
pub(in crate::query::jaeger) enum Wanted {
    Search(Search),
    /// These traces, each once, and whether just as they came.
    Ids(Vec<TraceId>, bool),
}

pub(in crate::query::jaeger) fn traces(parameters: &Parameters, now_ns: i128) -> Result<Wanted, Refusal> {
    let start = time(parameters, "start", MICROSECOND)?.unwrap_or(now_ns - TRACES_LOOKBACK_NS);
    let end = time(parameters, "end", MICROSECOND)?.unwrap_or(now_ns);
    let tags = tags(parameters)?;
    let limit = match parameters.first("limit") {
        None => DEFAULT_LIMIT,
        Some(text) => {
            let number = go::parse_int(text).map_err(|error| Refusal::bad_request(error.to_string()))?;
            limit(number)
                .map_err(|error| Refusal::bad_request(format!("invalid parameter: limit {error}")))?
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
        return Err(Refusal::bad_request("invalid parameter: start time must be before end time"));
    }
    let duration_ns = durations(min, max)
        .ok_or_else(|| Refusal::bad_request("'maxDuration' should be greater than 'minDuration'"))?;
    if !ids.is_empty() {
        return Ok(Wanted::Ids(ids, raw));
    }
    let query = Query {
        service: service.map(str::to_owned),
        operation: parameters.first("operation").map(str::to_owned),
        tags,
        start_ns: span_times(start, end),
        duration_ns,
        limit,
    };
    Ok(Wanted::Search(Search { query, raw }))
}

/// Of `/api/traces/{id}`: whether the trace is to be shown just as it came. The store knows its traces by id alone, so
/// the times that some of Jaeger's stores need are only checked.
pub(in crate::query::jaeger) fn trace(parameters: &Parameters) -> Result<bool, Refusal> {
    time(parameters, "start", MICROSECOND)?;
    time(parameters, "end", MICROSECOND)?;
    flag(parameters, "raw")
}

/// When the spans started that dependencies are counted of.
pub(in crate::query::jaeger) fn dependencies(
    parameters: &Parameters,
    now_ns: i128,
) -> Result<RangeInclusive<u64>, Refusal> {
    let end = time(parameters, "endTs", MILLISECOND)?.unwrap_or(now_ns);
    let lookback = time(parameters, "lookback", MILLISECOND)?.unwrap_or(DEPENDENCIES_LOOKBACK_NS);
    if lookback < 0 {
        return Err(unreadable("lookback", &"must not be negative"));
    }
    Ok(span_times(end - lookback, end))
}

/// The service that is required, and the kind that is not.
pub(in crate::query::jaeger) fn operations(
    parameters: &Parameters,
) -> Result<(String, Option<String>), Refusal> {
    let service = parameters.first("service").ok_or_else(service_is_required)?;
    Ok((service.to_owned(), parameters.first("spanKind").map(str::to_owned)))
}

/// Any text but `false` asks for it.
pub(in crate::query::jaeger) fn is_pretty(parameters: &Parameters) -> bool {
    parameters.first("prettyPrint").is_some_and(|text| text != "false")
}

fn service_is_required() -> Refusal {
    Refusal::bad_request("parameter 'service' is required")
}

fn unreadable(name: &str, error: &dyn std::fmt::Display) -> Refusal {
    Refusal::bad_request(format!("unable to parse param '{name}': {error}"))
}

/// In nanoseconds.
fn time(parameters: &Parameters, name: &str, unit_ns: i64) -> Result<Option<i128>, Refusal> {
    let Some(text) = parameters.first(name) else { return Ok(None) };
    let ns = go::parse_int(text)
        .and_then(|number| number.checked_mul(unit_ns).ok_or_else(|| go::out_of_range(text)))
        .map_err(|error| unreadable(name, &error))?;
    Ok(Some(ns.into()))
}

/// In nanoseconds; zero if it is not given.
fn duration(parameters: &Parameters, name: &str) -> Result<u64, Refusal> {
    parameters.first(name).map_or(Ok(0), go::parse_duration).map_err(|error| unreadable(name, &error))
}

fn flag(parameters: &Parameters, name: &str) -> Result<bool, Refusal> {
    parameters.first(name).map_or(Ok(false), go::parse_bool).map_err(|error| unreadable(name, &error))
}

/// A key that is given twice has the last value, and one of `tags` before those of `tag`.
fn tags(parameters: &Parameters) -> Result<Vec<(String, String)>, Refusal> {
    let mut tags = BTreeMap::new();
    for tag in parameters.all("tag") {
        let (key, value) = tag.split_once(':').ok_or_else(|| {
            let tag = go::clipped(tag);
            Refusal::bad_request(format!("malformed 'tag' parameter, expecting key:value, received: {tag}"))
        })?;
        tags.insert(key.to_owned(), value.to_owned());
    }
    for json in parameters.all("tags") {
        tags.extend(tag_map(json).map_err(|error| {
            Refusal::bad_request(format!("malformed 'tags' parameter, cannot unmarshal JSON: {error}"))
        })?);
    }
    Ok(tags.into_iter().collect())
}

/// Jaeger shows a trace as often as it is named. Some thousand names of one large trace would be a reply of gigabytes,
/// so here it is shown once.
fn ids(parameters: &Parameters) -> Result<Vec<TraceId>, Refusal> {
    let mut seen = HashSet::new();
    let mut ids = Vec::new();
    for text in parameters.all("traceID") {
        let id = trace_id(text).map_err(|refusal| {
            Refusal::bad_request(format!("cannot parse traceID param: {}", refusal.message))
        })?;
        if seen.insert(id) {
            ids.push(id);
        }
    }
    Ok(ids)
}
