//! Random traces: every field of OTLP, and every value that it can carry.

use std::sync::Arc;

use proptest::collection::vec;
use proptest::prelude::*;

use crate::trace::{
    Attribute, EntityRef, Event, Kind, Link, Resource, Scope, Span, SpanId, Status, StatusCode, Trace,
    TraceId, Value,
};

/// Texts with characters that JSON escapes and that UTF-8 encodes in up to four bytes.
fn any_text() -> impl Strategy<Value = String> {
    prop_oneof![3 => "[a-z.]{0,8}", 1 => ".{0,6}", 1 => "[\"\\\\\u{0}-\u{1f}\u{7f}\u{fffd}\u{1f600}]{0,4}"]
}

fn any_value() -> impl Strategy<Value = Value> {
    let double = prop_oneof![
        4 => any::<f64>().prop_map(|number| if number.is_nan() { f64::NAN } else { number }),
        1 => prop::sample::select(&[f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 0.0, -0.0, f64::MIN_POSITIVE, 5e-324][..]),
    ];
    let int = prop_oneof![any::<i64>(), prop::sample::select(&[i64::MIN, i64::MAX, 0, -1][..])];
    let leaf = prop_oneof![
        Just(Value::Empty),
        any_text().prop_map(Value::String),
        any::<bool>().prop_map(Value::Bool),
        int.prop_map(Value::Int),
        double.prop_map(Value::Double),
        vec(any::<u8>(), 0..8).prop_map(Value::Bytes),
    ];
    leaf.prop_recursive(4, 12, 4, |inner| {
        let attribute = (any_text(), inner.clone()).prop_map(|(key, value)| Attribute { key, value });
        prop_oneof![vec(inner, 0..4).prop_map(Value::Array), vec(attribute, 0..4).prop_map(Value::Map),]
    })
}

fn any_attributes() -> impl Strategy<Value = Vec<Attribute>> {
    vec((any_text(), any_value()).prop_map(|(key, value)| Attribute { key, value }), 0..4)
}

fn any_event() -> impl Strategy<Value = Event> {
    (any::<u64>(), any_text(), any_attributes(), any::<u32>()).prop_map(
        |(time_ns, name, attributes, dropped_attributes)| Event {
            time_ns,
            name,
            attributes,
            dropped_attributes,
        },
    )
}

fn any_link() -> impl Strategy<Value = Link> {
    let ids = (prop::option::of(1..u128::MAX), prop::option::of(1..u64::MAX));
    (ids, any_text(), any_attributes(), any::<u32>(), any::<u32>()).prop_map(
        |((trace_id, span_id), trace_state, attributes, dropped_attributes, flags)| Link {
            trace_id: trace_id.map(TraceId),
            span_id: span_id.map(SpanId),
            trace_state,
            attributes,
            dropped_attributes,
            flags,
        },
    )
}

fn any_resource() -> impl Strategy<Value = Resource> {
    let keys = || vec(any_text(), 0..3);
    let entity =
        (any_text(), any_text(), keys(), keys()).prop_map(|(schema_url, kind, id_keys, description_keys)| {
            EntityRef { schema_url, kind, id_keys, description_keys }
        });
    (any_attributes(), any::<u32>(), any_text(), vec(entity, 0..3)).prop_map(
        |(attributes, dropped_attributes, schema_url, entity_refs)| Resource {
            attributes,
            dropped_attributes,
            schema_url,
            entity_refs,
        },
    )
}

fn any_scope() -> impl Strategy<Value = Scope> {
    (any_text(), any_text(), any_attributes(), any::<u32>(), any_text()).prop_map(
        |(name, version, attributes, dropped_attributes, schema_url)| Scope {
            name,
            version,
            attributes,
            dropped_attributes,
            schema_url,
        },
    )
}

/// Returns a kind, and a number that OTLP does not define in place of an unspecified one.
fn any_kind() -> impl Strategy<Value = (Kind, i32)> {
    use Kind::{Client, Consumer, Internal, Producer, Server, Unspecified};
    let kinds = &[Unspecified, Internal, Server, Client, Producer, Consumer][..];
    (prop::sample::select(kinds), any_unknown(6)).prop_map(|(kind, unknown)| match kind {
        Unspecified => (kind, unknown),
        _ => (kind, 0),
    })
}

/// Returns 0, or a number outside an enumeration of `defined` values.
fn any_unknown(defined: i32) -> impl Strategy<Value = i32> {
    prop_oneof![Just(0), i32::MIN..0, defined..=i32::MAX]
}

fn any_status() -> impl Strategy<Value = Status> {
    let code = prop::sample::select(&[StatusCode::Unset, StatusCode::Ok, StatusCode::Error][..]);
    (code, any_unknown(3), any_text()).prop_map(|(code, unknown, message)| Status {
        code,
        unknown_code: if code == StatusCode::Unset { unknown } else { 0 },
        message,
    })
}

/// Returns spans of trace 1. Each has a resource and a scope of its own.
fn any_span() -> impl Strategy<Value = Span> {
    let ids = (1..u64::MAX, prop::option::of(1..u64::MAX), any::<(u64, u64)>(), any_kind());
    let texts = (any_text(), any_text(), any_status());
    let lists = (any_attributes(), vec(any_event(), 0..3), vec(any_link(), 0..3));
    let numbers = (any::<[u32; 3]>(), any::<u32>());
    (ids, texts, lists, numbers, any_resource(), any_scope()).prop_map(
        |(
            (id, parent, (start_ns, end_ns), (kind, unknown_kind)),
            (name, trace_state, status),
            lists,
            (dropped, flags),
            resource,
            scope,
        )| {
            let (attributes, events, links) = lists;
            Span {
                trace_id: TraceId(1),
                span_id: SpanId(id),
                parent: parent.map(SpanId),
                name,
                kind,
                unknown_kind,
                start_ns,
                end_ns,
                attributes,
                events,
                links,
                status,
                trace_state,
                flags,
                dropped,
                resource: Arc::new(resource),
                scope: Arc::new(scope),
            }
        },
    )
}

pub(super) fn any_trace() -> impl Strategy<Value = Trace> {
    vec(any_span(), 1..4).prop_map(|spans| Trace { spans })
}
