use std::sync::Arc;

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use proptest::prelude::*;
use prost::Message as _;

use super::*;
use crate::fixture::{attribute, span as plain_span};
use crate::ingest::{Ingest, Transport};
use crate::store::{Lookup, Query};
use crate::trace::{EntityRef, Event, Link, Resource, Scope, SpanId, Status, StatusCode, TraceId, Value};

use random::any_trace;

mod random;
mod round_trips;

/// A trace that sets every field of OTLP.
fn full_trace() -> Trace {
    let values = vec![
        attribute("string", Value::String("ü \"quoted\"".to_owned())),
        attribute("bool", Value::Bool(true)),
        attribute("int", Value::Int(i64::MIN)),
        attribute("double", Value::Double(-0.25)),
        attribute("bytes", Value::Bytes(vec![0, 255, 7])),
        attribute("empty", Value::Empty),
        attribute("list", Value::Array(vec![Value::Int(1), Value::Empty, Value::String("x".to_owned())])),
        attribute("map", Value::Map(vec![attribute("inner", Value::Array(Vec::new()))])),
    ];
    let resource = Arc::new(Resource {
        attributes: vec![attribute("service.name", Value::String("shop".to_owned()))],
        dropped_attributes: 1,
        schema_url: "https://opentelemetry.io/schemas/1.44.0".to_owned(),
        entity_refs: vec![EntityRef {
            schema_url: "entity schema".to_owned(),
            kind: "service".to_owned(),
            id_keys: vec!["service.name".to_owned(), String::new()],
            description_keys: vec!["service.version".to_owned()],
        }],
    });
    let scope = Arc::new(Scope {
        name: "library".to_owned(),
        version: "1.0".to_owned(),
        attributes: vec![attribute("a", Value::Int(1))],
        dropped_attributes: 2,
        schema_url: "scope schema".to_owned(),
    });
    let mut first = plain_span((0x11, 0, 1_795_455_811_000_000_001, u64::MAX));
    first.trace_id = TraceId(u128::MAX - 1);
    first.attributes = values.clone();
    first.events = vec![Event {
        time_ns: 5,
        name: "event".to_owned(),
        attributes: values.clone(),
        dropped_attributes: 3,
    }];
    first.links = vec![Link {
        trace_id: Some(TraceId(2)),
        span_id: None,
        trace_state: "a=b".to_owned(),
        attributes: values,
        dropped_attributes: 4,
        flags: 0x301,
    }];
    first.status = Status { code: StatusCode::Error, unknown_code: 0, message: "boom".to_owned() };
    first.trace_state = "vendor=1".to_owned();
    first.dropped = [5, 6, 7];
    (first.resource, first.scope) = (resource, scope);
    let mut second = plain_span((0x12, 0x11, 3, 4));
    second.trace_id = first.trace_id;
    Trace { spans: vec![first, second] }
}

#[test]
fn a_trace_survives_a_round_trip_through_json() {
    let trace = full_trace();
    let line = to_json_line(&trace).unwrap();
    assert!(!line.contains('\n'));
    assert_eq!(from_json_line(&line).unwrap(), trace);
}

#[test]
fn writes_otlp_json() {
    let line: serde_json::Value = serde_json::from_str(&to_json_line(&full_trace()).unwrap()).unwrap();
    let span = &line["resourceSpans"][0]["scopeSpans"][0]["spans"][0];
    assert_eq!(span["traceId"], "fffffffffffffffffffffffffffffffe");
    assert_eq!(span["spanId"], "0000000000000011");
    assert_eq!(span["startTimeUnixNano"], "1795455811000000001", "64-bit integers are strings");
    assert_eq!(span["attributes"][2]["value"]["intValue"], i64::MIN.to_string());
    assert_eq!(span["status"]["code"], 2);
    assert_eq!(line["resourceSpans"].as_array().map(Vec::len), Some(2), "one entry for each resource");
}

#[test]
fn spans_of_one_resource_and_scope_share_an_entry() {
    let mut trace = full_trace();
    let (resource, scope) = (Arc::clone(&trace.spans[0].resource), Arc::clone(&trace.spans[0].scope));
    (trace.spans[1].resource, trace.spans[1].scope) = (resource, scope);
    let read = from_json_line(&to_json_line(&trace).unwrap()).unwrap();
    assert_eq!(read, trace);
    assert!(Arc::ptr_eq(&read.spans[0].resource, &read.spans[1].resource));
}

#[test]
fn parses_json_of_other_writers_and_rejects_the_rest() {
    let minimal = r#"{"resourceSpans":[{"scopeSpans":[{"spans":[
        {"traceId":"5B8EFFF798038103D269B633813FC60C","spanId":"EEE19B7EC3C1B174","name":"x","newField":1,
         "startTimeUnixNano":7,"attributes":[{"key":"n","value":{"intValue":3}}]},
        {"traceId":"","spanId":"EEE19B7EC3C1B174"}]}]}]}"#;
    let trace = from_json_line(minimal).unwrap();
    assert_eq!(trace.spans.len(), 1, "a span without a trace id is left out");
    assert_eq!(trace.spans[0].span_id, SpanId(0xeee1_9b7e_c3c1_b174));
    assert_eq!(trace.spans[0].attribute("n"), Some(&Value::Int(3)));
    assert_eq!(trace.spans[0].service(), "missing-service-name");
    for text in ["", "[", "7", r#"{"resourceSpans":{}}"#, "{}{}"] {
        assert!(from_json_line(text).is_err(), "{text}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn damaged_messages_break_nothing(
        trace in any_trace(), at in any::<prop::sample::Index>(), byte in any::<u8>(), cut in any::<bool>(),
    ) {
        let whole = ExportTraceServiceRequest { resource_spans: encode::resource_spans(&trace) }.encode_to_vec();
        let mut damaged = whole.clone();
        let at = at.index(damaged.len());
        damaged[at] = byte;
        if cut {
            damaged.truncate(at);
        }
        let ingest = Ingest::new(1 << 20, None);
        // The message may be refused or accepted in part; every accepted span must decode.
        let _ = ingest.accept(&damaged.into(), Transport::Grpc);
        let everything = Query {
            service: None, operation: None, tags: Vec::new(),
            start_ns: 0..=u64::MAX, duration_ns: 0..=u64::MAX, limit: 100,
        };
        let shown: usize = ingest.store.search(&everything).map(|trace| trace.spans.len()).sum();
        prop_assert_eq!(shown as u64, ingest.store.stats().spans);
        ingest.accept(&whole.into(), Transport::Grpc).unwrap();
        prop_assert!(matches!(ingest.store.get(TraceId(1)), Lookup::Stored(_)));
    }

    #[test]
    fn damaged_json_breaks_nothing(
        trace in any_trace(), at in any::<prop::sample::Index>(), byte in any::<u8>(), cut in any::<bool>(),
    ) {
        let mut damaged = to_json_line(&trace).unwrap().into_bytes();
        let at = at.index(damaged.len());
        damaged[at] = byte;
        if cut {
            damaged.truncate(at);
        }
        let ingest = Ingest::new(1 << 20, None);
        let accepted = ingest.json_to_protobuf(&damaged).map(|message| ingest.accept(&message, Transport::Http));
        // JSON of the right structure converts to a well-formed message, even if its spans are invalid.
        prop_assert!(!matches!(accepted, Ok(Err(_))), "{:?}", accepted);
        let kept = ingest.store.ids().into_iter().filter(|id| matches!(ingest.store.get(*id), Lookup::Stored(_)));
        prop_assert_eq!(kept.count(), ingest.store.stats().traces);
    }
}
