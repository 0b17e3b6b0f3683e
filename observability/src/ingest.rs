//! What becomes of a batch of spans, whichever way it came: checked, counted, stored, measured, passed on.
//!
//! All of it happens before the sender gets its reply, so that what was accepted is never in a queue that a crash
//! or a stop could empty; only what is passed on may wait, or be dropped and counted, on its own.

mod loss;

use std::ops::RangeFrom;
use std::sync::{Mutex, MutexGuard, PoisonError};

use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTracePartialSuccess, ExportTraceServiceRequest,
};
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, Span};

use crate::forward::Forward;
use crate::latency::{Latencies, Sample};
use crate::otlp;
use crate::span::{SpanId, StatusCode, TraceId};
use crate::store::{Batch, Store};

pub(crate) use loss::Losses;

/// Which receiver a batch came by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Transport {
    Grpc,
    Http,
}

/// Everything that spans go into, and that queries read.
#[derive(Debug)]
pub(crate) struct Ingest {
    pub(crate) store: Store,
    latencies: Mutex<Latencies>,
    losses: Mutex<Losses>,
    pub(crate) forward: Option<Forward>,
    pub(crate) counts: Counts,
}

/// Counts since the start.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    pub(crate) grpc_spans: Counter,
    pub(crate) http_spans: Counter,
    pub(crate) rejected_spans: Counter,
    pub(crate) refused_requests: Counter,
}

pub(crate) type Counter = prometheus_client::metrics::counter::Counter;

impl Ingest {
    pub(crate) fn new(store_max_bytes: usize, forward: Option<Forward>) -> Self {
        Self {
            store: Store::new(store_max_bytes),
            latencies: Mutex::default(),
            losses: Mutex::default(),
            forward,
            counts: Counts::default(),
        }
    }

    /// Takes a batch in. The reply tells the sender of spans that cannot be kept because their ids are invalid.
    pub(crate) fn accept(
        &self,
        mut request: ExportTraceServiceRequest,
        transport: Transport,
    ) -> Option<ExportTracePartialSuccess> {
        let mut batch = Batch::with_capacity(64 * 1024);
        let mut rejected = 0_i64;
        for of_resource in &mut request.resource_spans {
            rejected += self.take(of_resource, &mut batch);
        }
        let repeated = self.store.insert(&batch);
        let mut positions = 0..;
        for of_resource in &request.resource_spans {
            self.measure(of_resource, &mut positions, &repeated);
        }
        let by_transport = match transport {
            Transport::Grpc => &self.counts.grpc_spans,
            Transport::Http => &self.counts.http_spans,
        };
        by_transport.inc_by(batch.len() as u64);
        let bytes = batch.bytes();
        if let Some(forward) = &self.forward {
            forward.offer(request, bytes);
        }
        if rejected == 0 {
            return None;
        }
        self.counts.rejected_spans.inc_by(rejected.unsigned_abs());
        let error_message =
            "a span needs a trace id of 16 bytes and a span id of 8, not all zeros".to_owned();
        Some(ExportTracePartialSuccess { rejected_spans: rejected, error_message })
    }

    /// A message that could not be read at all.
    pub(crate) fn count_refusal(&self) {
        self.counts.refused_requests.inc();
    }

    pub(crate) fn latencies(&self) -> MutexGuard<'_, Latencies> {
        self.latencies.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn losses(&self) -> MutexGuard<'_, Losses> {
        self.losses.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Moves what belongs into the store to the batch, and reports of losses to the ledger. Returns how many spans
    /// were neither.
    fn take(&self, of_resource: &mut ResourceSpans, batch: &mut Batch) -> i64 {
        let service = service(of_resource).to_owned();
        let ResourceSpans { resource, scope_spans, schema_url } = of_resource;
        let mut rejected = 0;
        for of_scope in scope_spans {
            let reports = of_scope.scope.as_ref().is_some_and(loss::may_report);
            for span in &mut of_scope.spans {
                if reports && loss::is_report(span) {
                    self.losses().record(&service, span);
                } else if let Some(trace_id) = valid_ids(span) {
                    batch.push(trace_id, span);
                } else {
                    rejected += 1;
                }
            }
            batch.end_group((resource.as_ref(), schema_url), (of_scope.scope.as_ref(), &of_scope.schema_url));
        }
        rejected
    }

    /// Measures what is new. `positions` count the spans of the batch in the order in which [`Self::take`] pushed them.
    fn measure(&self, of_resource: &ResourceSpans, positions: &mut RangeFrom<usize>, repeated: &[usize]) {
        let mut is_new =
            || positions.next().is_none_or(|position| repeated.binary_search(&position).is_err());
        let samples: Vec<Sample<'_>> = of_resource
            .scope_spans
            .iter()
            .flat_map(|of_scope| {
                let reports = of_scope.scope.as_ref().is_some_and(loss::may_report);
                of_scope.spans.iter().filter(move |span| !(reports && loss::is_report(span)))
            })
            .filter(|span| valid_ids(span).is_some() && is_new())
            .map(|span| Sample {
                operation: &span.name,
                kind: otlp::kind(span.kind),
                duration_ns: span.end_time_unix_nano.saturating_sub(span.start_time_unix_nano),
                error: span.status.as_ref().is_some_and(|status| status.code == StatusCode::Error as i32),
            })
            .collect();
        self.latencies().record(service(of_resource), samples);
    }
}

fn valid_ids(span: &Span) -> Option<TraceId> {
    let parent = &span.parent_span_id;
    let parent_is_valid = parent.is_empty() || parent.len() == 8;
    (parent_is_valid && SpanId::from_bytes(&span.span_id).is_some())
        .then(|| TraceId::from_bytes(&span.trace_id))
        .flatten()
}

fn service(of_resource: &ResourceSpans) -> &str {
    let attributes = of_resource.resource.as_ref().map_or(&[][..], |resource| &resource.attributes);
    text(attributes, "service.name").unwrap_or(crate::span::UNKNOWN_SERVICE)
}

fn text<'a>(attributes: &'a [KeyValue], key: &str) -> Option<&'a str> {
    match value(attributes, key)? {
        Value::StringValue(text) => Some(text),
        _ => None,
    }
}

fn value<'a>(attributes: &'a [KeyValue], key: &str) -> Option<&'a Value> {
    attributes.iter().find(|attribute| attribute.key == key)?.value.as_ref()?.value.as_ref()
}
