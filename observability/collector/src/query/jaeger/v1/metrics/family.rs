//! The shape of the answer: `MetricFamily` of OpenMetrics' protocol buffers, as JSON.

use serde::{Serialize, Serializer};

use crate::query::jaeger::rfc3339;

#[derive(Debug, Serialize)]
pub(super) struct Family {
    pub(super) name: String,
    #[serde(rename = "type")]
    pub(super) kind: &'static str,
    pub(super) help: String,
    pub(super) metrics: Vec<Metric>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Metric {
    pub(super) labels: Vec<Label>,
    pub(super) metric_points: Vec<Point>,
}

#[derive(Debug, Serialize)]
pub(super) struct Label {
    pub(super) name: &'static str,
    pub(super) value: String,
}

/// There may be very many, so their words are added when they are written.
#[derive(Debug, Serialize)]
pub(super) struct Point {
    #[serde(rename = "gaugeValue")]
    pub(super) value: Gauge,
    #[serde(rename = "timestamp", serialize_with = "time")]
    pub(super) at_ms: i64,
}

#[derive(Debug, Serialize)]
pub(super) struct Gauge {
    #[serde(rename = "doubleValue")]
    pub(super) value: f64,
}

fn time<S: Serializer>(ms: &i64, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&rfc3339::of_milliseconds(*ms))
}
