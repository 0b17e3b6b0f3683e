//! Rates, errors and durations over the last hour, which Jaeger's Monitor page shows: from the collector's own slots,
//! where Jaeger needs a Prometheus.

mod family;

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use axum::extract::{RawQuery, State};
use axum::response::IntoResponse as _;
use axum::routing::get;
use axum::{Json, Router};
use serde_json::json;

use super::Reply;
use crate::ingest::Ingest;
use crate::latency::{Lately, SLOT_MS, Slot, Window};
use crate::query::answer::Writing;
use crate::query::jaeger::parameters::Parameters;
use crate::query::jaeger::query::now_ns;
use crate::query::jaeger::query::v1::metrics::{self as query, Asked, Grid};
use crate::query::jaeger::{Refusal, written};
use family::{Family, Gauge, Label, Metric, Point};

/// Points of all series of an answer; each takes some 80 bytes of it.
const MAX_POINTS: usize = 250_000;

/// What is shown of each window.
#[derive(Debug, Clone, Copy)]
enum Measure {
    /// This quantile of the durations, in milliseconds.
    Latencies(f64),
    /// Calls a second.
    Calls,
    /// The part of the calls that failed.
    Errors,
}

pub(super) fn router() -> Router<Arc<Ingest>> {
    Router::new()
        .route("/api/metrics/latencies", get(latencies))
        .route("/api/metrics/calls", get(calls))
        .route("/api/metrics/errors", get(errors))
        .route("/api/metrics/minstep", get(min_step))
}

async fn latencies(State(ingest): State<Arc<Ingest>>, RawQuery(asked): RawQuery) -> Reply {
    let parameters = Parameters::parse(asked.as_deref())?;
    let measure = Measure::Latencies(query::quantile(&parameters)?);
    measured(ingest, measure, query::asked(&parameters, now_ns())?).await
}

async fn calls(State(ingest): State<Arc<Ingest>>, RawQuery(asked): RawQuery) -> Reply {
    let parameters = Parameters::parse(asked.as_deref())?;
    measured(ingest, Measure::Calls, query::asked(&parameters, now_ns())?).await
}

async fn errors(State(ingest): State<Arc<Ingest>>, RawQuery(asked): RawQuery) -> Reply {
    let parameters = Parameters::parse(asked.as_deref())?;
    measured(ingest, Measure::Errors, query::asked(&parameters, now_ns())?).await
}

/// How close together points can be and still differ, in milliseconds.
async fn min_step(RawQuery(asked): RawQuery) -> Reply {
    Parameters::parse(asked.as_deref())?;
    let envelope = json!({ "data": SLOT_MS, "total": 0, "limit": 0, "offset": 0, "errors": null });
    Ok(Json(envelope).into_response())
}

async fn measured(ingest: Arc<Ingest>, measure: Measure, asked: Asked) -> Reply {
    let work = move |body: &mut Writing| {
        let durations = matches!(measure, Measure::Latencies(_));
        let wanted = |service: &str, kind| asked.services.contains(service) && asked.kinds.contains(&kind);
        let lately = ingest.latencies().lately(&asked.grid.slots_of_all(), durations, wanted);
        let metrics = metrics(measure, &asked, lately)?;
        let (name, help) = measure.name_and_help(asked.by_operation);
        Ok(body.json(&Family { name, kind: "GAUGE", help, metrics })?)
    };
    Ok(written(work).await?)
}

impl Measure {
    /// The same texts as Jaeger has for what it reads from Prometheus.
    fn name_and_help(self, by_operation: bool) -> (String, String) {
        let (name, help) = match self {
            Self::Latencies(quantile) => ("latencies", format!("{quantile:.2}th quantile latency")),
            Self::Calls => ("call_rate", "calls/sec".to_owned()),
            Self::Errors => {
                ("error_rate", "error rate, computed as a fraction of errors/sec over calls/sec".to_owned())
            }
        };
        if by_operation {
            (format!("service_operation_{name}"), format!("{help}, grouped by service & operation"))
        } else {
            (format!("service_{name}"), format!("{help}, grouped by service"))
        }
    }

    /// Of a window that is at these slots, of which all since `known` are known. `None` if there is nothing to tell.
    fn of(self, window: &Window<'_>, slots: &Range<u32>, known: u32) -> Option<f64> {
        match self {
            Self::Latencies(quantile) => window.quantile_ms(quantile),
            Self::Calls => {
                // By the time that is known: calls are no fewer because the collector was started lately.
                let ms = f64::from(slots.end.saturating_sub(slots.start.max(known))) * f64::from(SLOT_MS);
                window.calls().filter(|_| ms > 0.0).map(|calls| calls as f64 * 1e3 / ms)
            }
            Self::Errors => window.error_rate(),
        }
    }
}

fn metrics(measure: Measure, asked: &Asked, lately: Lately) -> Result<Vec<Metric>, Refusal> {
    let mut groups: BTreeMap<(String, Option<String>), Vec<Slot>> = BTreeMap::new();
    for (service, operation, slots) in lately.operations {
        groups.entry((service, asked.by_operation.then_some(operation))).or_default().extend(slots);
    }
    let points = groups.len() * asked.grid.points(&lately.kept).count();
    if points > MAX_POINTS {
        return Err(Refusal::bad_request(format!(
            "{points} points of {} timeseries are more than {MAX_POINTS}: use a larger step or a shorter lookback",
            groups.len()
        )));
    }
    let metrics = groups.into_iter().map(|((service, operation), mut slots)| {
        slots.sort_unstable_by_key(Slot::index);
        let operation = operation.map(|value| Label { name: "operation", value });
        let labels = operation.into_iter().chain([Label { name: "service_name", value: service }]);
        Metric { labels: labels.collect(), metric_points: line(measure, asked.grid, &lately.kept, &slots) }
    });
    Ok(metrics.filter(|metric| !metric.metric_points.is_empty()).collect())
}

/// The points of one group's slots, as far as there is something to tell.
fn line(measure: Measure, grid: Grid, kept: &Range<u32>, slots: &[Slot]) -> Vec<Point> {
    let mut window = Window::before(slots);
    let mut last: Option<(Range<u32>, Option<f64>)> = None;
    let mut points = Vec::new();
    for at_ms in grid.points(kept) {
        let slots = grid.window(at_ms);
        // Points closer than slots see the same window.
        let value = match &last {
            Some((seen, value)) if *seen == slots => *value,
            _ => {
                window.move_to(&slots);
                measure.of(&window, &slots, kept.start)
            }
        };
        points.extend(value.map(|value| Point { value: Gauge { value }, at_ms }));
        last = Some((slots, value));
    }
    points
}

#[cfg(test)]
mod tests;
