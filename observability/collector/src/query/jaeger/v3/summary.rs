//! Trace summaries, which the UI's search page lists.

use std::collections::{BTreeMap, HashSet};

use serde::{Serialize, Serializer};

use crate::trace::{Span, SpanId, Trace, TraceId};

/// As in protobuf's JSON mapping, zeros and empty texts are omitted.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::query::jaeger) struct TraceSummary {
    pub(in crate::query::jaeger) trace_id: Option<TraceId>,
    /// Service of the earliest span without a parent.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(in crate::query::jaeger) root_service_name: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(in crate::query::jaeger) root_operation_name: String,
    /// Nanoseconds since the epoch, as a decimal string.
    #[serde(skip_serializing_if = "is_zero", serialize_with = "decimal")]
    pub(in crate::query::jaeger) min_start_time_unix_nano: u64,
    #[serde(skip_serializing_if = "is_zero", serialize_with = "decimal")]
    pub(in crate::query::jaeger) max_end_time_unix_nano: u64,
    pub(in crate::query::jaeger) span_count: u64,
    #[serde(skip_serializing_if = "is_zero")]
    pub(in crate::query::jaeger) error_span_count: u64,
    /// Spans whose parent is not in the trace.
    #[serde(skip_serializing_if = "is_zero")]
    pub(in crate::query::jaeger) orphan_span_count: u64,
    /// In order of their names.
    pub(in crate::query::jaeger) services: Vec<ServiceSummary>,
}

#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::query::jaeger) struct ServiceSummary {
    pub(in crate::query::jaeger) name: String,
    pub(in crate::query::jaeger) span_count: u64,
    #[serde(skip_serializing_if = "is_zero")]
    pub(in crate::query::jaeger) error_span_count: u64,
}

impl From<&Trace> for TraceSummary {
    fn from(trace: &Trace) -> Self {
        let spans = &trace.spans;
        let ids: HashSet<SpanId> = spans.iter().map(|span| span.span_id).collect();
        let is_orphan = |span: &&Span| span.parent.is_some_and(|parent| !ids.contains(&parent));
        let root = spans.iter().filter(|span| span.parent.is_none()).min_by_key(|span| span.start_ns);
        Self {
            trace_id: trace.id(),
            root_service_name: root.map(|root| root.service().to_owned()).unwrap_or_default(),
            root_operation_name: root.map(|root| root.operation().to_owned()).unwrap_or_default(),
            min_start_time_unix_nano: spans.iter().map(|span| span.start_ns).min().unwrap_or(0),
            max_end_time_unix_nano: spans.iter().map(|span| span.end_ns).max().unwrap_or(0),
            span_count: spans.len() as u64,
            error_span_count: spans.iter().filter(|span| span.is_error()).count() as u64,
            orphan_span_count: spans.iter().filter(is_orphan).count() as u64,
            services: services(spans),
        }
    }
}

fn services(spans: &[Span]) -> Vec<ServiceSummary> {
    let mut services: BTreeMap<&str, ServiceSummary> = BTreeMap::new();
    for span in spans {
        let service = services.entry(span.service()).or_default();
        service.span_count += 1;
        service.error_span_count += u64::from(span.is_error());
    }
    services.into_iter().map(|(name, service)| ServiceSummary { name: name.to_owned(), ..service }).collect()
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

fn decimal<S: Serializer>(number: &u64, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(number)
}
