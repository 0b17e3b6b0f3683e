//! What `/api/metrics/*` are asked for. All times are in milliseconds.

mod grid;

use std::collections::BTreeSet;

use super::{MILLISECOND, flag, time, unreadable};
use crate::go;
use crate::query::jaeger::Refusal;
use crate::query::jaeger::parameters::Parameters;
use crate::trace::Kind;

pub(in crate::query::jaeger) use grid::Grid;

const LOOKBACK_MS: i64 = 3_600_000;
const STEP_MS: i64 = 5000;
const RATE_PER_MS: i64 = 600_000;

/// Whose metrics are wanted, and when.
#[derive(Debug)]
pub(in crate::query::jaeger) struct Asked {
    pub(in crate::query::jaeger) services: BTreeSet<String>,
    pub(in crate::query::jaeger) kinds: Vec<Kind>,
    pub(in crate::query::jaeger) by_operation: bool,
    pub(in crate::query::jaeger) grid: Grid,
}

pub(in crate::query::jaeger) fn asked(parameters: &Parameters, now_ns: i128) -> Result<Asked, Refusal> {
    let services: BTreeSet<String> =
        parameters.all("service").filter(|name| !name.is_empty()).map(str::to_owned).collect();
    if services.is_empty() {
        return Err(unreadable("service", &"please provide at least one service name"));
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
        return Err(unreadable("lookback", &"must not be negative"));
    }
    for (name, length_ms) in [("step", grid.step_ms), ("ratePer", grid.rate_per_ms)] {
        if length_ms <= 0 {
            return Err(unreadable(name, &"must be greater than 0"));
        }
    }
    grid.check()?;
    Ok(Asked { services, kinds, by_operation, grid })
}

/// The quantile that latencies are wanted of, from 0 to 1.
pub(in crate::query::jaeger) fn quantile(parameters: &Parameters) -> Result<f64, Refusal> {
    let text = parameters.first("quantile").unwrap_or_default();
    let quantile: f64 = text.parse().map_err(|_| {
        let reason = "invalid syntax";
        let text = go::clipped(text).to_owned();
        unreadable("quantile", &go::ParseError::Number { function: "ParseFloat", text, reason })
    })?;
    if !(0.0..=1.0).contains(&quantile) {
        return Err(unreadable("quantile", &"must be from 0 to 1"));
    }
    Ok(quantile)
}

/// By Jaeger's name or OpenTelemetry's.
fn kind(text: &str) -> Result<Kind, Refusal> {
    Ok(match text {
        "unspecified" | "SPAN_KIND_UNSPECIFIED" => Kind::Unspecified,
        "internal" | "SPAN_KIND_INTERNAL" => Kind::Internal,
        "server" | "SPAN_KIND_SERVER" => Kind::Server,
        "client" | "SPAN_KIND_CLIENT" => Kind::Client,
        "producer" | "SPAN_KIND_PRODUCER" => Kind::Producer,
        "consumer" | "SPAN_KIND_CONSUMER" => Kind::Consumer,
        _ => return Err(unreadable("spanKind", &format!("unsupported span kind: '{}'", go::clipped(text)))),
    })
}

fn milliseconds(parameters: &Parameters, name: &str, default: i64) -> Result<i64, Refusal> {
    // What fits in nanoseconds fits in milliseconds.
    let ns = time(parameters, name, MILLISECOND)?;
    Ok(ns.and_then(|ns| i64::try_from(ns / i128::from(MILLISECOND)).ok()).unwrap_or(default))
}
