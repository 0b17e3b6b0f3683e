//! `/api/metrics/*`: call rates, error rates and latencies of the last hour for the UI's Monitor tab. Jaeger needs a
//! Prometheus for it; here they come from the collector's own 5 s slots.

mod grid;
mod parameters;
mod family;

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use axum::extract::{RawQuery, State};
use axum::response::IntoResponse as _;
use axum::routing::get;
use axum::{Json, Router};
use serde_json::json;

use super::Api;
use super::error::ApiError;
use super::parameters::Parameters;
use super::respond;
use super::search::now_ns;
use super::v1::Reply;
use crate::ingest::Ingest;
use crate::latency::{RecentCalls, SLOT_MS, SlidingWindow, Slot};
use crate::query::streaming::ResponseWriter;
use family::{Gauge, Label, Metric, MetricFamily, Point};
use grid::Grid;
use parameters::{MonitorQuery, monitor_query, quantile};

/// Maximum number of points in a response, over all series; a point takes about 80 bytes.
const MAX_POINTS: usize = 250_000;

/// The quantity that a point shows.
#[derive(Debug, Clone, Copy)]
enum Measure {
    /// This quantile of the durations, in milliseconds.
    Latencies(f64),
    /// Calls per second.
    Calls,
    /// The fraction of calls that failed.
    Errors,
}

pub(super) fn router() -> Router<Api> {
    Router::new()
        .route("/api/metrics/latencies", get(latencies))
        .route("/api/metrics/calls", get(calls))
        .route("/api/metrics/errors", get(errors))
        .route("/api/metrics/minstep", get(min_step))
}

async fn latencies(State(ingest): State<Arc<Ingest>>, RawQuery(query): RawQuery) -> Reply {
    let parameters = Parameters::parse(query.as_deref())?;
    let measure = Measure::Latencies(quantile(&parameters)?);
    respond_with(ingest, measure, monitor_query(&parameters, now_ns())?).await
}

async fn calls(State(ingest): State<Arc<Ingest>>, RawQuery(query): RawQuery) -> Reply {
    let parameters = Parameters::parse(query.as_deref())?;
    respond_with(ingest, Measure::Calls, monitor_query(&parameters, now_ns())?).await
}

async fn errors(State(ingest): State<Arc<Ingest>>, RawQuery(query): RawQuery) -> Reply {
    let parameters = Parameters::parse(query.as_deref())?;
    respond_with(ingest, Measure::Errors, monitor_query(&parameters, now_ns())?).await
}

/// Returns the smallest useful step between points, in milliseconds: the length of a slot.
async fn min_step(RawQuery(query): RawQuery) -> Reply {
    Parameters::parse(query.as_deref())?;
    let response = json!({ "data": SLOT_MS, "total": 0, "limit": 0, "offset": 0, "errors": null });
    Ok(Json(response).into_response())
}

async fn respond_with(ingest: Arc<Ingest>, measure: Measure, query: MonitorQuery) -> Reply {
    let work = move |body: &mut ResponseWriter| {
        let durations = matches!(measure, Measure::Latencies(_));
        let is_selected =
            |service: &str, kind| query.services.contains(service) && query.kinds.contains(&kind);
        let recent = ingest.latencies().recent_calls(&query.grid.slots_of_all(), durations, is_selected);
        let metrics = metrics(measure, &query, recent)?;
        let (name, help) = measure.name_and_help(query.by_operation);
        Ok(body.json(&MetricFamily { name, kind: "GAUGE", help, metrics })?)
    };
    Ok(respond::search(work).await?)
}

impl Measure {
    /// Returns the metric's name and help, the same as Jaeger's.
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

    /// Returns the value of a window over `slots`, or `None` without data. Slots before `known` have no data.
    fn of(self, window: &SlidingWindow<'_>, slots: &Range<u32>, known: u32) -> Option<f64> {
        match self {
            Self::Latencies(quantile) => window.quantile_ms(quantile),
            Self::Calls => {
                // Divided by the time with data only, so that the rate is right just after the collector's start.
                let ms = f64::from(slots.end.saturating_sub(slots.start.max(known))) * f64::from(SLOT_MS);
                window.calls().filter(|_| ms > 0.0).map(|calls| calls as f64 * 1e3 / ms)
            }
            Self::Errors => window.error_rate(),
        }
    }
}

fn metrics(measure: Measure, query: &MonitorQuery, recent: RecentCalls) -> Result<Vec<Metric>, ApiError> {
    let mut groups: BTreeMap<(String, Option<String>), Vec<Slot>> = BTreeMap::new();
    for (service, operation, slots) in recent.operations {
        groups.entry((service, query.by_operation.then_some(operation))).or_default().extend(slots);
    }
    let points = groups.len() * query.grid.points(&recent.kept).count();
    if points > MAX_POINTS {
        return Err(ApiError::bad_request(format!(
            "{points} points in {} timeseries exceed the limit of {MAX_POINTS}: use a larger step or a shorter lookback",
            groups.len()
        )));
    }
    let metrics = groups.into_iter().map(|((service, operation), mut slots)| {
        slots.sort_unstable_by_key(Slot::index);
        let operation = operation.map(|value| Label { name: "operation", value });
        let labels = operation.into_iter().chain([Label { name: "service_name", value: service }]);
        Metric { labels: labels.collect(), metric_points: series(measure, query.grid, &recent.kept, &slots) }
    });
    Ok(metrics.filter(|metric| !metric.metric_points.is_empty()).collect())
}

/// Returns the points of one group's slots; points without data are left out.
fn series(measure: Measure, grid: Grid, kept: &Range<u32>, slots: &[Slot]) -> Vec<Point> {
    let mut window = SlidingWindow::before(slots);
    let mut last: Option<(Range<u32>, Option<f64>)> = None;
    let mut points = Vec::new();
    for at_ms in grid.points(kept) {
        let slots = grid.window(at_ms);
        // Points closer than a slot have the same window.
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
