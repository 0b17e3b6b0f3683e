//! Names shared by the emitter of spans and their collector: headers, attributes and the loss report, each defined once.
//!
//! # Loss reports
//!
//! A process that drops spans reports them with spans of its own, so that any OTLP backend shows the loss:
//!
//! | part | value |
//! |---|---|
//! | scope | [`LOSS_SCOPE`] |
//! | name | [`LOSS_REPORT`] |
//! | links | one for each trace that lost spans, at most 128 in a span |
//! | [`DROPPED_COUNT`] | number of spans dropped; 0 on further spans of the same report |
//! | [`DROPPED_REASON`] | a [`DropReason`] |

use http::HeaderName;

/// W3C Trace Context: the caller's span.
pub const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// W3C Trace Context: vendor data that travels with `traceparent`.
pub const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// W3C Trace Context Level 2 (draft): the server's span, returned to the caller.
pub const TRACERESPONSE: HeaderName = HeaderName::from_static("traceresponse");

/// W3C Baggage: application data that travels with the trace context.
pub const BAGGAGE: HeaderName = HeaderName::from_static("baggage");

/// Request header: a secret that proves that the sender may continue its own trace. Never forwarded.
pub const TRACE_SECRET: HeaderName = HeaderName::from_static("x-trace-secret");

/// On a CLIENT span: id of the SERVER span that answered, from [`TRACERESPONSE`]. A trace without that span is incomplete.
pub const PEER_SPAN_ID: &str = "peer.span_id";

/// Boolean, true on a span that only waits: for a pooled connection, a permit, a lease or another request's result.
pub const WAIT: &str = "workbench.wait";

/// Boolean, true on the root span of a request that was meant to be refused, and was. Errors of 4xx status in such a trace
/// are not faults.
pub const INTENDED_REFUSAL: &str = "workbench.intended_refusal";

/// Name of the database system; its presence marks a database span.
pub const DB_SYSTEM_NAME: &str = "db.system.name";

/// Instrumentation scope of the spans around requests, statements and waits.
pub const SCOPE: &str = "observability";

/// Instrumentation scope of loss reports.
pub const LOSS_SCOPE: &str = "observability.telemetry";

/// Name of the spans of a loss report.
pub const LOSS_REPORT: &str = "spans dropped";

/// In a loss report: integer, number of spans dropped.
pub const DROPPED_COUNT: &str = "otel.dropped.count";

/// In a loss report: text, why the spans were dropped.
pub const DROPPED_REASON: &str = "otel.dropped.reason";

/// Reason for dropping spans. Also the `error_type` label of the span metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DropReason {
    /// The queue of spans to export was full.
    QueueFull,
    /// The backend did not accept the spans before the retry deadline.
    ExportFailed,
}

impl DropReason {
    /// Returns the reason as written in attributes and labels.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::QueueFull => "queue_full",
            Self::ExportFailed => "export_failed",
        }
    }
}
