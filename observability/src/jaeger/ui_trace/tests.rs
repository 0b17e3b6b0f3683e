use std::sync::Arc;

use proptest::prelude::*;
use proptest::sample::Index;
use serde_json::{Value as Json, json};

use super::*;
use crate::otlp::{from_json_line, to_json_line};
use crate::span::tests::span as plain_span;
use crate::span::{
    Attribute, Event, Kind, Link, Resource, Scope, Span, SpanId, Status, StatusCode, TraceId, Value,
};

fn read(json: &Json) -> Result<Trace, serde_json::Error> {
    serde_json::from_str::<UiTrace>(&json.to_string()).map(|UiTrace(trace)| trace)
}

fn write(trace: &Trace) -> Json {
    serde_json::to_value(UiTrace(trace.clone())).unwrap()
}

/// The one span of a trace with these fields, and a sound one otherwise.
fn read_span(fields: &Json) -> Result<Span, serde_json::Error> {
    let mut span = json!({ "traceID": "11", "spanID": "aa", "operationName": "x", "references": null,
        "startTime": 1, "duration": 2, "tags": null, "logs": null, "processID": "p1", "warnings": null });
    span.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    let processes = json!({ "p1": { "serviceName": "shop", "tags": null } });
    read(&json!({ "traceID": "11", "spans": [span], "processes": processes }))
        .map(|mut trace| trace.spans.remove(0))
}

fn attribute(key: &str, value: Value) -> Attribute {
    Attribute { key: key.to_owned(), value }
}

fn text(key: &str, value: &str) -> Attribute {
    attribute(key, Value::String(value.to_owned()))
}

fn link(trace_id: u128, span_id: u64) -> Link {
    Link {
        trace_id: (trace_id != 0).then_some(TraceId(trace_id)),
        span_id: (span_id != 0).then_some(SpanId(span_id)),
        trace_state: String::new(),
        attributes: Vec::new(),
        dropped_attributes: 0,
        flags: 0,
    }
}

#[test]
fn ids_of_older_files_are_read() {
    let long = "5B8EFFF798038103D269B633813FC60C";
    for (trace_id, span_id, expected) in [
        ("11", "AA", (0x11, 0xaa)),
        ("00000000000000FF", "00000000000000aa", (0xff, 0xaa)),
        (long, "EEE19B7EC3C1B174", (0x5b8e_fff7_9803_8103_d269_b633_813f_c60c, 0xeee1_9b7e_c3c1_b174)),
    ] {
        let span = read_span(&json!({ "traceID": trace_id, "spanID": span_id })).unwrap();
        assert_eq!((span.trace_id.0, span.span_id.0), expected, "{trace_id} {span_id}");
    }
}

#[test]
fn tags_that_stand_for_something_are_found_wherever_they_stand() {
    let tag = |key: &str, value: Json| json!({ "key": key, "value": value });
    let span = read_span(&json!({ "tags": [
        tag("error", json!(true)), tag("a", json!(1)), tag("otel.scope.version", json!("1.0")),
        tag("span.kind", json!("client")), tag("otel.scope.name", json!("library")),
        tag("w3c.tracestate", json!("vendor=1")), tag("otel.status_description", json!("boom")),
    ] }))
    .unwrap();
    assert_eq!(span.attributes, [attribute("a", Value::Int(1))]);
    assert_eq!((span.scope.name.as_str(), span.scope.version.as_str()), ("library", "1.0"));
    assert_eq!((span.kind, span.trace_state.as_str()), (Kind::Client, "vendor=1"));
    assert_eq!(span.status, Status { code: StatusCode::Error, message: "boom".to_owned() });
}

#[test]
fn a_tag_that_says_nothing_of_the_sort_is_an_attribute() {
    let tags = json!([
        { "key": "span.kind", "type": "string", "value": "kitchen" },
        { "key": "error", "type": "bool", "value": false },
        { "key": "otel.status_code", "type": "string", "value": "PERHAPS" },
        { "key": "otel.scope.name", "type": "string", "value": "" },
    ]);
    let span = read_span(&json!({ "tags": tags })).unwrap();
    assert_eq!(span.attributes.len(), 4);
    assert_eq!((span.kind, span.status.code), (Kind::Unspecified, StatusCode::Unset));
    let ok = json!([{ "key": "error", "value": true }, { "key": "otel.status_code", "value": "OK" }]);
    let span = read_span(&json!({ "tags": ok })).unwrap();
    assert_eq!(
        (span.status.code, span.attributes),
        (StatusCode::Ok, vec![attribute("error", Value::Bool(true))])
    );
}

#[test]
fn values_are_of_the_type_that_is_named() {
    let value = |kind: &str, value: Json| {
        let tag = json!({ "key": "k", "type": kind, "value": value });
        read_span(&json!({ "tags": [tag] })).map(|mut span| span.attributes.remove(0).value)
    };
    for (kind, json, expected) in [
        ("string", json!("x"), Value::String("x".to_owned())),
        ("bool", json!(true), Value::Bool(true)),
        ("bool", json!("false"), Value::Bool(false)),
        ("int64", json!(-7), Value::Int(-7)),
        ("int64", json!("9007199254740993"), Value::Int(9_007_199_254_740_993)),
        ("float64", json!(7), Value::Double(7.0)),
        ("float64", json!("inf"), Value::Double(f64::INFINITY)),
        ("binary", json!("AP8H"), Value::Bytes(vec![0, 255, 7])),
    ] {
        assert_eq!(value(kind, json.clone()).unwrap(), expected, "{kind} {json}");
    }
    for (kind, json) in [
        ("string", json!(7)),
        ("bool", json!("perhaps")),
        ("int64", json!(0.5)),
        ("int64", json!(u64::MAX)),
        ("float64", json!([])),
        ("binary", json!("?")),
    ] {
        let error = value(kind, json).unwrap_err().to_string();
        assert!(error.starts_with(&format!("tag \"k\" is no {kind}")), "{error}");
    }
}

#[test]
fn references_are_a_parent_and_links() {
    let reference =
        |kind: &str, trace: &str, span: &str| json!({ "refType": kind, "traceID": trace, "spanID": span });
    let of = |references: &[Json]| {
        let span = read_span(&json!({ "references": references })).unwrap();
        (span.parent.map(|id| id.0), span.links)
    };
    let child_of = |link| Link { attributes: vec![text("opentracing.ref_type", "child_of")], ..link };
    let [parent, other] = [reference("CHILD_OF", "11", "1"), reference("CHILD_OF", "22", "2")];
    let follows = reference("FOLLOWS_FROM", "11", "3");
    let nowhere = reference("FOLLOWS_FROM", "0000000000000000", "");
    assert_eq!(of(std::slice::from_ref(&parent)), (Some(1), vec![]));
    let links = vec![child_of(link(0x22, 2)), link(0x11, 3)];
    assert_eq!(
        of(&[other.clone(), follows.clone(), parent]),
        (Some(1), vec![links[0].clone(), links[1].clone()])
    );
    assert_eq!(of(&[other.clone(), follows.clone()]), (None, links), "a link within the trace is no parent");
    assert_eq!(
        of(&[follows, other.clone()]),
        (Some(3), vec![link(0x11, 3), child_of(link(0x22, 2))]),
        "unless it leads"
    );
    assert_eq!(of(&[nowhere, other]), (None, vec![link(0, 0), child_of(link(0x22, 2))]));
}

#[test]
fn a_parent_stays_the_parent_whatever_the_span_is_linked_to() {
    let child_of = |link| Link { attributes: vec![text("opentracing.ref_type", "child_of")], ..link };
    let of = |parent: u64, links: Vec<Link>| Span { links, ..plain_span((9, parent, 0, 1000)) };
    for (span, references) in [
        (of(2, vec![link(1, 2)]), json!([["FOLLOWS_FROM", "2"]])),
        (of(2, vec![child_of(link(1, 3))]), json!([["CHILD_OF", "2"], ["CHILD_OF", "3"]])),
        (
            of(2, vec![link(1, 2), child_of(link(1, 3))]),
            json!([["CHILD_OF", "2"], ["FOLLOWS_FROM", "2"], ["CHILD_OF", "3"]]),
        ),
        (of(2, vec![link(1, 2), child_of(link(7, 3))]), json!([["FOLLOWS_FROM", "2"], ["CHILD_OF", "3"]])),
        (of(0, vec![link(7, 2), link(1, 3)]), json!([["FOLLOWS_FROM", "2"], ["FOLLOWS_FROM", "3"]])),
    ] {
        let trace = Trace { spans: vec![span] };
        let shown = write(&trace);
        let written = shown["spans"][0]["references"].as_array().unwrap().iter();
        let id = |reference: &Json| reference["spanID"].as_str().unwrap().trim_start_matches('0').to_owned();
        let written: Vec<Json> =
            written.map(|reference| json!([reference["refType"], id(reference)])).collect();
        assert_eq!(json!(written), references);
        assert_eq!(read(&shown).unwrap().spans[0].parent, trace.spans[0].parent, "{shown}");
        assert_eq!(read(&shown).unwrap().spans[0].links, trace.spans[0].links, "{shown}");
    }
}

#[test]
fn warnings_are_an_attribute_as_in_jaeger() {
    let warnings = json!(["clock skew", "late"]);
    let span = read_span(&json!({ "warnings": warnings })).unwrap();
    let list = ["clock skew", "late"].map(|text| Value::String(text.to_owned())).to_vec();
    assert_eq!(span.attributes, [attribute("@jaeger@warnings", Value::Array(list))]);
    let shown = write(&Trace { spans: vec![span] });
    assert_eq!((&shown["spans"][0]["warnings"], &shown["spans"][0]["tags"]), (&warnings, &json!([])));
    let odd = Span { attributes: vec![text("@jaeger@warnings", "one")], ..plain_span((1, 0, 0, 1)) };
    assert_eq!(write(&Trace { spans: vec![odd] })["spans"][0]["warnings"], json!(["one"]), "as Jaeger");
    for none in [json!(null), json!([])] {
        assert_eq!(read_span(&json!({ "warnings": none })).unwrap().attributes, []);
    }
    assert!(read_span(&json!({ "warnings": [7] })).is_err());
}

#[test]
fn two_fields_that_could_be_an_events_name_are_attributes() {
    let field = |value: &str| json!({ "key": "event", "type": "string", "value": value });
    let fields = json!([field("a"), field("b")]);
    let span = read_span(&json!({ "logs": [{ "timestamp": 1, "fields": fields }] })).unwrap();
    assert_eq!(span.events[0].name, "");
    assert_eq!(write(&Trace { spans: vec![span] })["spans"][0]["logs"][0]["fields"], fields);
}

#[test]
fn resources_that_look_the_same_are_one_process() {
    let of = |id, value| {
        let resource = Resource { attributes: vec![attribute("a", value)], ..Resource::default() };
        Span { resource: Arc::new(resource), ..plain_span((id, 0, 0, 1)) }
    };
    let shown = write(&Trace { spans: vec![of(1, Value::Empty), of(2, Value::String(String::new()))] });
    assert_eq!(shown["processes"].as_object().unwrap().len(), 1, "{shown}");
    assert_eq!(write(&read(&shown).unwrap()), shown);
}

#[test]
fn what_is_no_trace_is_refused_and_the_reason_named() {
    for (fields, named) in [
        (json!({ "traceID": "zz" }), "hexadecimal"),
        (json!({ "spanID": "0" }), "hexadecimal"),
        (json!({ "startTime": u64::MAX }), "beyond the year 2554"),
        (json!({ "startTime": u64::MAX / 1000, "duration": 1000 }), "beyond the year 2554"),
        (json!({ "startTime": -1 }), "invalid value"),
        (json!({ "processID": "p9" }), "names process \"p9\", which is not there"),
        (
            json!({ "references": [{ "refType": "LIKES", "traceID": "1", "spanID": "1" }] }),
            "unknown variant `LIKES`",
        ),
        (json!({ "logs": vec![json!({ "timestamp": 1 }); 20_001] }), "a list of more than 20000"),
        (json!({ "logs": [{ "timestamp": u64::MAX }] }), "beyond the year 2554"),
    ] {
        let error = read_span(&fields).unwrap_err().to_string();
        assert!(error.contains(named), "{error}");
    }
    let span = |trace_id: &str| json!({ "traceID": trace_id, "spanID": "1", "operationName": "", "startTime": 0, "duration": 0, "processID": "p" });
    let processes = json!({ "p": { "serviceName": "s" } });
    let mixed = read(&json!({ "spans": [span("1"), span("2")], "processes": processes })).unwrap_err();
    assert!(mixed.to_string().contains("is of trace 00000000000000000000000000000002"), "{mixed}");
    for json in [json!({}), json!([]), json!({ "traceID": "1" }), json!({ "resourceSpans": [] })] {
        assert!(read(&json).is_err(), "{json}");
    }
}

/// Keys that stand for what has a place of its own elsewhere.
const RESERVED: [&str; 9] = [
    "otel.scope.name",
    "otel.scope.version",
    "span.kind",
    "otel.status_code",
    "otel.status_description",
    "error",
    "w3c.tracestate",
    "event",
    "service.name",
];

/// Values that JSON of the UI can hold.
fn plain_value() -> impl Strategy<Value = Value> {
    prop_oneof![
        ".{0,8}".prop_map(Value::String),
        any::<bool>().prop_map(Value::Bool),
        any::<i64>().prop_map(Value::Int),
        (prop::num::f64::NORMAL | prop::num::f64::ZERO | prop::num::f64::INFINITE).prop_map(Value::Double),
        prop::collection::vec(any::<u8>(), 0..8).prop_map(Value::Bytes),
    ]
}

fn any_value() -> impl Strategy<Value = Value> {
    let lists = prop::collection::vec(plain_value(), 0..3);
    let maps = prop::collection::vec(("[a-c]", plain_value()), 0..3);
    prop_oneof![
        4 => plain_value(),
        1 => Just(Value::Empty),
        1 => Just(Value::Double(f64::NAN)),
        1 => lists.prop_map(Value::Array),
        1 => maps.prop_map(|map| Value::Map(map.into_iter().map(|(key, value)| attribute(&key, value)).collect())),
    ]
}

fn attributes(value: impl Strategy<Value = Value> + 'static) -> impl Strategy<Value = Vec<Attribute>> {
    let any = (".{0,3}", value).prop_map(|(key, value)| attribute(&key, value));
    prop::collection::vec(any, 0..4)
}

/// To spans of this trace, the first, and of others.
fn any_link() -> impl Strategy<Value = Link> {
    (1..4_u128, 1..4_u64, any::<bool>()).prop_map(|(trace_id, span_id, is_child)| {
        let attributes = if is_child { vec![text("opentracing.ref_type", "child_of")] } else { vec![] };
        Link { attributes, ..link(trace_id, span_id) }
    })
}

type Parts = (Vec<Attribute>, Vec<Event>, Vec<Link>, Option<u64>, bool, Vec<String>);

/// A span whose attributes have such values, and whose times are whole multiples of `unit` nanoseconds.
fn any_span<V: Strategy<Value = Value> + Clone + 'static>(
    value: V,
    unit: u64,
) -> impl Strategy<Value = Span> {
    let times = (0..u64::MAX / unit / 2, 0..u64::MAX / unit / 2)
        .prop_map(move |(start, took)| (start * unit, (start + took) * unit));
    let kinds = prop::sample::select(vec![
        Kind::Unspecified,
        Kind::Internal,
        Kind::Server,
        Kind::Client,
        Kind::Producer,
        Kind::Consumer,
    ]);
    let codes = prop::sample::select(vec![StatusCode::Unset, StatusCode::Ok, StatusCode::Error]);
    let events =
        (0..u64::MAX / unit, ".{0,3}", attributes(value.clone())).prop_map(move |(at, name, attributes)| {
            Event { time_ns: at * unit, name, attributes, dropped_attributes: 0 }
        });
    let parts = (
        attributes(value),
        prop::collection::vec(events, 0..3),
        prop::collection::vec(any_link(), 0..4),
        prop::option::of(1..4_u64),
        any::<bool>(),
        prop::collection::vec(".{0,3}", 0..3),
    );
    (1..u64::MAX, times, kinds, codes, [".{0,3}", ".{0,3}", ".{0,3}"], ["[ab]{0,1}", "[12]{0,1}"], parts)
        .prop_map(
            |(id, (start, end), kind, code, [name, message, trace_state], [library, version], parts): (
                _,
                _,
                _,
                _,
                _,
                _,
                Parts,
            )| {
                let (mut attributes, events, mut links, parent, is_linked, warnings) = parts;
                // As batches do, and the spans that receive their messages one by one.
                if let Some(parent) = parent.filter(|_| is_linked) {
                    links.insert(0, link(1, parent));
                }
                if !warnings.is_empty() {
                    let list = warnings.into_iter().map(Value::String).collect();
                    attributes.push(attribute("@jaeger@warnings", Value::Array(list)));
                }
                Span {
                    parent: parent.map(SpanId),
                    kind,
                    name,
                    attributes,
                    events,
                    links,
                    trace_state,
                    flags: 0,
                    status: Status { code, message },
                    scope: Arc::new(Scope { name: library, version, ..Scope::default() }),
                    ..plain_span((id, 0, start, end))
                }
            },
        )
}

fn any_trace<V: Strategy<Value = Value> + Clone + 'static>(
    value: V,
    unit: u64,
) -> impl Strategy<Value = Trace> {
    // An empty name is as good as none.
    let resource = (".{1,3}", attributes(value.clone())).prop_map(|(service, mut attributes)| {
        attributes.insert(0, text("service.name", &service));
        Arc::new(Resource { attributes, ..Resource::default() })
    });
    let resources = prop::collection::vec(resource, 1..4);
    let spans = prop::collection::vec((any_span(value, unit), any::<Index>()), 1..5);
    (spans, resources).prop_map(|(spans, resources)| {
        let of = |(span, which): (Span, Index)| Span { resource: Arc::clone(which.get(&resources)), ..span };
        Trace { spans: spans.into_iter().map(of).collect() }
    })
}

/// Without the links of which the UI's JSON does not tell what they are.
fn told(mut trace: Trace) -> Trace {
    for span in &mut trace.spans {
        let parent = span.parent;
        let leads_within = |link: &Link| link.trace_id == Some(TraceId(1));
        let is_first = |links: &[Link]| links.first().is_some_and(leads_within);
        // A link to the parent is plain, and the first one.
        let is_linked = |links: &[Link]| {
            links.first().is_some_and(|first| {
                leads_within(first) && first.span_id == parent && first.attributes.is_empty()
            })
        };
        if parent.is_some() {
            let first = is_linked(&span.links).then(|| span.links.remove(0));
            span.links.retain(|link| !leads_within(link) || link.span_id != parent);
            span.links.splice(0..0, first);
        } else {
            span.links.retain(|link| !leads_within(link) || link.attributes.is_empty());
            while is_first(&span.links) {
                span.links.remove(0);
            }
        }
    }
    trace
}

/// Attributes that are called like what stands elsewhere; the rest of the trace is as it was.
fn with_reserved(mut trace: Trace, names: &[(Index, Value)]) -> Trace {
    let lists = trace.spans.iter_mut().flat_map(|span| {
        let events = span.events.iter_mut().map(|event| &mut event.attributes);
        std::iter::once(&mut span.attributes).chain(events)
    });
    for (list, (name, value)) in lists.zip(names) {
        list.push(attribute(RESERVED[name.index(RESERVED.len())], value.clone()));
        list.rotate_right(1);
    }
    trace
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_trace_that_the_ui_can_show_comes_back_as_it_was(trace in any_trace(plain_value().boxed(), 1000)) {
        let trace = told(trace);
        prop_assert_eq!(read(&write(&trace)).unwrap(), trace);
    }

    #[test]
    fn any_trace_looks_the_same_once_it_was_read_from_the_ui(trace in any_trace(any_value().boxed(), 1)) {
        let shown = write(&told(trace));
        prop_assert_eq!(write(&read(&shown).unwrap()), shown);
    }

    #[test]
    fn what_was_read_once_changes_no_more(
        trace in any_trace(any_value().boxed(), 1),
        names in prop::collection::vec((any::<Index>(), plain_value()), 0..8),
    ) {
        let once = write(&read(&write(&with_reserved(trace, &names))).unwrap());
        prop_assert_eq!(write(&read(&once).unwrap()), once);
    }

    #[test]
    fn damaged_json_is_refused_or_read_but_breaks_nothing(
        trace in any_trace(any_value().boxed(), 1), at in any::<Index>(), by in "[\\[\\]{}\",:0-9eE+.nulltrue-]{0,6}", cut in any::<bool>(),
    ) {
        let mut damaged = write(&trace).to_string().into_bytes();
        let at = at.index(damaged.len());
        let end = (at + by.len()).min(damaged.len());
        damaged.splice(at..end, by.bytes());
        if cut {
            damaged.truncate(at);
        }
        if let Ok(UiTrace(read)) = serde_json::from_slice(&damaged) {
            let line = to_json_line(&read).unwrap();
            prop_assert_eq!(from_json_line(&line).unwrap().spans.len(), read.spans.len());
        }
    }
}
