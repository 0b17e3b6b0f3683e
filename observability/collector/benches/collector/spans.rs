//! Realistic messages of 512 spans: 8 spans per trace, 4 services, 10 attributes per span.

use bytes::Bytes;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use prost::Message as _;

pub(crate) const SPANS_PER_MESSAGE: usize = 512;
pub(crate) const SPANS_PER_TRACE: usize = 8;
pub(crate) const SERVICES: [&str; 4] = ["balancer", "gateway", "search", "booking"];
const TRACES: usize = SPANS_PER_MESSAGE / SPANS_PER_TRACE;
const CUSTOMER: &str = "customer-00000000";

/// One encoded message, patched with new ids, customers and durations each time.
pub(crate) struct MessageGenerator {
    message: Vec<u8>,
    /// Positions of the trace ids, customers and end times.
    ids: Vec<(usize, usize)>,
    customers: Vec<(usize, usize)>,
    ends: Vec<usize>,
    traces: u64,
    start_ns: u64,
}

impl MessageGenerator {
    pub(crate) fn new() -> Self {
        let start_ns = 1_795_455_811_000_000_000;
        let message = request(start_ns).encode_to_vec();
        let find = |needle: &[u8]| {
            let windows = message.windows(needle.len()).enumerate();
            windows.filter(|(_, window)| *window == needle).map(|(at, _)| at).collect::<Vec<_>>()
        };
        let places = |needle: &dyn Fn(usize) -> Vec<u8>| {
            (0..TRACES)
                .flat_map(|trace| find(&needle(trace)).into_iter().map(move |at| (trace, at)))
                .collect::<Vec<_>>()
        };
        let ids = places(&|trace| trace_id(trace as u64).to_vec());
        let customers = places(&|trace| format!("customer-{trace:08}").into_bytes());
        let mut end = vec![0x41];
        end.extend((start_ns + 1_000_000).to_le_bytes());
        let ends = find(&end);
        assert_eq!(
            (ids.len(), ends.len()),
            (SPANS_PER_MESSAGE, SPANS_PER_MESSAGE),
            "each id and each end is found"
        );
        Self { message, ids, customers, ends, traces: 0, start_ns }
    }

    pub(crate) fn next(&mut self) -> Bytes {
        for (trace, at) in &self.ids {
            self.message[*at..at + 16].copy_from_slice(&trace_id(self.traces + *trace as u64));
        }
        for (trace, at) in &self.customers {
            let digits = format!("{:08}", (self.traces + *trace as u64) % 100_000_000);
            self.message[*at + 9..at + CUSTOMER.len()].copy_from_slice(digits.as_bytes());
        }
        for (number, at) in self.ends.iter().enumerate() {
            // Microseconds to milliseconds, all different.
            let micros = (self.traces.wrapping_mul(6_364_136_223_846_793_005) >> 52) + number as u64 * 7;
            let end = self.start_ns + micros * 1000 + number as u64;
            self.message[at + 1..at + 9].copy_from_slice(&end.to_le_bytes());
        }
        self.traces += TRACES as u64;
        Bytes::copy_from_slice(&self.message)
    }

    pub(crate) fn last_customer(&self) -> String {
        format!("customer-{:08}", self.traces - 1)
    }
}

/// Not consecutive: real ids are random, and consecutive ones would favour the map.
fn trace_id(number: u64) -> [u8; 16] {
    let mixed = (number + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    ((u128::from(mixed) << 64) | u128::from(mixed.rotate_left(31) ^ 0x5bd1_e995)).to_be_bytes()
}

fn request(start_ns: u64) -> ExportTraceServiceRequest {
    let of_service = |service: usize| ResourceSpans {
        resource: Some(Resource {
            attributes: vec![
                text("service.name", SERVICES[service]),
                text("service.instance.id", "1"),
                text("host.name", "machine-1"),
            ],
            ..Resource::default()
        }),
        scope_spans: vec![ScopeSpans {
            scope: Some(InstrumentationScope { name: "http".to_owned(), ..InstrumentationScope::default() }),
            spans: (0..TRACES)
                .flat_map(|trace| [2 * service, 2 * service + 1].map(|place| span(trace, place, start_ns)))
                .collect(),
            ..ScopeSpans::default()
        }],
        ..ResourceSpans::default()
    };
    ExportTraceServiceRequest { resource_spans: (0..SERVICES.len()).map(of_service).collect() }
}

fn span(trace: usize, place: usize, start_ns: u64) -> Span {
    let parent = if place == 0 { Vec::new() } else { span_id(trace, place - 1) };
    let attributes = vec![
        text("http.request.method", "GET"),
        text("url.path", "/search"),
        text("url.scheme", "http"),
        text("http.route", "/search"),
        int("http.response.status_code", 200),
        text("server.address", "gateway.example"),
        int("server.port", 8001),
        text("client.address", "10.1.2.3"),
        text("user_agent.original", "Mozilla/5.0 (X11; Linux x86_64)"),
        text("customer.id", &format!("customer-{trace:08}")),
    ];
    Span {
        trace_id: trace_id(trace as u64).to_vec(),
        span_id: span_id(trace, place),
        parent_span_id: parent,
        flags: 1,
        name: ["GET /search", "GET"][place % 2].to_owned(),
        kind: 2 + (place % 2) as i32,
        start_time_unix_nano: start_ns,
        end_time_unix_nano: start_ns + 1_000_000,
        attributes,
        ..Span::default()
    }
}

fn span_id(trace: usize, place: usize) -> Vec<u8> {
    ((trace * SPANS_PER_TRACE + place + 1) as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes().to_vec()
}

fn text(key: &str, value: &str) -> KeyValue {
    attribute(key, Value::StringValue(value.to_owned()))
}

fn int(key: &str, value: i64) -> KeyValue {
    attribute(key, Value::IntValue(value))
}

fn attribute(key: &str, value: Value) -> KeyValue {
    KeyValue { key: key.to_owned(), value: Some(AnyValue { value: Some(value) }), key_strindex: 0 }
}
