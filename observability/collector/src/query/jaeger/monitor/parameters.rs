//! Parameters of `/api/metrics/*`. All times are in milliseconds.

use std::collections::BTreeSet;

use super::grid::Grid;
use crate::go_syntax;
use crate::query::jaeger::error::ApiError;
use crate::query::jaeger::parameters::Parameters;
use crate::query::jaeger::v1::{MILLISECOND, flag, invalid, time};
use crate::trace::Kind;

const LOOKBACK_MS: i64 = 3_600_000;
const STEP_MS: i64 = 5000;
const RATE_PER_MS: i64 = 600_000;

/// Selects spans and points in time.
#[derive(Debug)]
pub(super) struct MonitorQuery {
    pub(super) services: BTreeSet<String>,
    pub(super) kinds: Vec<Kind>,
    pub(super) by_operation: bool,
    pub(super) grid: Grid,
}

pub(super) fn monitor_query(parameters: &Parameters, now_ns: i128) -> Result<MonitorQuery, ApiError> {
    let services: BTreeSet<String> =
        parameters.all("service").filter(|name| !name.is_empty()).map(str::to_owned).collect();
    if services.is_empty() {
        return Err(invalid("service", &"please provide at least one service name"));
    }
    let by_operation = flag(parameters, "groupByOperation")?;
    let mut kinds = parameters.all("spanKind").map(kind).collect::<Result<Vec<_>, _>>()?;
    if kinds.is_empty() {
        kinds.push(Kind::Server);
    }
    let now_ms = i64::try_from(now_ns / i128::from(MILLISECOND)).unwrap_or(i64::MAX);
    let grid = Grid {
        end_ms: milliseconds(parameters, "endTs", now_ms)?,
        lookback_ms: milliseconds(parameters, "lookback", LOOKBACK_MS)?,
        step_ms: milliseconds(parameters, "step", STEP_MS)?,
        rate_per_ms: milliseconds(parameters, "ratePer", RATE_PER_MS)?,
    };
    if grid.lookback_ms < 0 {
        return Err(invalid("lookback", &"must not be negative"));
    }
    for (name, length_ms) in [("step", grid.step_ms), ("ratePer", grid.rate_per_ms)] {
        if length_ms <= 0 {
            return Err(invalid(name, &"must be greater than 0"));
        }
    }
    grid.check()?;
    Ok(MonitorQuery { services, kinds, by_operation, grid })
}

/// Parses the required quantile, from 0 to 1.
pub(super) fn quantile(parameters: &Parameters) -> Result<f64, ApiError> {
    let text = parameters.first("quantile").unwrap_or_default();
    let quantile: f64 = text.parse().map_err(|_| {
        let reason = "invalid syntax";
        let text = go_syntax::truncated(text).to_owned();
        invalid("quantile", &go_syntax::ParseError::Number { function: "ParseFloat", text, reason })
    })?;
    if !(0.0..=1.0).contains(&quantile) {
        return Err(invalid("quantile", &"must be from 0 to 1"));
    }
    Ok(quantile)
}

/// Parses a kind by Jaeger's or OpenTelemetry's name.
fn kind(text: &str) -> Result<Kind, ApiError> {
    Ok(match text {
        "unspecified" | "SPAN_KIND_UNSPECIFIED" => Kind::Unspecified,
        "internal" | "SPAN_KIND_INTERNAL" => Kind::Internal,
        "server" | "SPAN_KIND_SERVER" => Kind::Server,
        "client" | "SPAN_KIND_CLIENT" => Kind::Client,
        "producer" | "SPAN_KIND_PRODUCER" => Kind::Producer,
        "consumer" | "SPAN_KIND_CONSUMER" => Kind::Consumer,
        _ => {
            let text = go_syntax::truncated(text);
            return Err(invalid("spanKind", &format!("unsupported span kind: '{text}'")));
        }
    })
}

fn milliseconds(parameters: &Parameters, name: &str, default: i64) -> Result<i64, ApiError> {
    // A time that is in range in nanoseconds is in range in milliseconds.
    let ns = time(parameters, name, MILLISECOND)?;
    Ok(ns.and_then(|ns| i64::try_from(ns / i128::from(MILLISECOND)).ok()).unwrap_or(default))
}
