//! The response: `MetricFamily` of OpenMetrics' protocol buffers, as JSON.

use chrono::{DateTime, SecondsFormat};
use serde::ser::Error as _;
use serde::{Serialize, Serializer};

#[derive(Debug, Serialize)]
pub(super) struct MetricFamily {
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

#[derive(Debug, Serialize)]
pub(super) struct Point {
    #[serde(rename = "gaugeValue")]
    pub(super) value: Gauge,
    /// Milliseconds since the epoch, formatted only when written: a response may have 250,000 points.
    #[serde(rename = "timestamp", serialize_with = "rfc3339")]
    pub(super) at_ms: i64,
}

#[derive(Debug, Serialize)]
pub(super) struct Gauge {
    #[serde(rename = "doubleValue")]
    pub(super) value: f64,
}

fn rfc3339<S: Serializer>(ms: &i64, serializer: S) -> Result<S::Ok, S::Error> {
    let time = DateTime::from_timestamp_millis(*ms).ok_or_else(|| S::Error::custom("time out of range"))?;
    serializer.serialize_str(&time.to_rfc3339_opts(SecondsFormat::Millis, true))
}
