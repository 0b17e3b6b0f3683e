mod random;

use std::sync::Arc;

use serde_json::{Value as Json, json};

use super::*;
use crate::fixture::{attribute, span as plain_span};
use crate::otlp::{from_json_line, to_json_line};
use crate::trace::{
    Attribute, Event, Kind, Link, Resource, Scope, Span, SpanId, Status, StatusCode, TraceId, Value,
};

fn read(json: &Json) -> Result<Trace, serde_json::Error> {
    serde_json::from_str::<UiTrace>(&json.to_string()).map(|UiTrace(trace)| trace)
}

fn write(trace: &Trace) -> Json {
    serde_json::to_value(UiTrace(trace.clone())).unwrap()
}

/// Parses a trace of one valid span with the given fields and returns the span.
fn read_span(fields: &Json) -> Result<Span, serde_json::Error> {
    let mut span = json!({ "operationName": "x", "references": null, "startTime": 1, "duration": 2, "tags": null,
        "logs": null, "processID": "p1", "warnings": null });
    let span = span.as_object_mut().unwrap();
    span.extend(fields.as_object().unwrap().clone());
    // Ids first, as Jaeger writes them; an object of `serde_json` is sorted.
    let mut id = |name: &str, id: &str| span.remove(name).unwrap_or(json!(id));
    let (trace_id, span_id) = (id("traceID", "11"), id("spanID", "aa"));
    let rest = json!(span).to_string();
    let text = format!(
        r#"{{"traceID":"11","spans":[{{"traceID":{trace_id},"spanID":{span_id},{}],"processes":{{"p1":{{"serviceName":"shop","tags":null}}}}}}"#,
        &rest[1..]
    );
    serde_json::from_str::<UiTrace>(&text).map(|UiTrace(mut trace)| trace.spans.remove(0))
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

/// Marks a link as the reference of a span that only follows from its parent.
fn follows_from(link: Link) -> Link {
    Link { attributes: vec![text("opentracing.ref_type", "follows_from")], ..link }
}

#[test]
fn parses_the_ids_of_older_files() {
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
fn parses_reserved_tags_in_any_order() {
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
    assert_eq!(span.status, Status { code: StatusCode::Error, unknown_code: 0, message: "boom".to_owned() });
}

#[test]
fn reserved_tags_without_a_valid_value_stay_attributes() {
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
fn parses_values_by_their_type() {
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
    let rounded = json!(9_223_372_036_854_776_000_u64);
    for (kind, json, expected) in [
        ("string", json!(7), Value::Int(7)),
        ("string", json!(["a", 1]), Value::String("[\"a\",1]".to_owned())),
        ("string", json!(null), Value::Empty),
        ("bool", json!("perhaps"), Value::String("perhaps".to_owned())),
        ("bool", json!(1), Value::Int(1)),
        ("int64", json!(0.5), Value::Double(0.5)),
        ("int64", json!(7.0), Value::Int(7)),
        ("int64", rounded, Value::Int(i64::MAX)),
        ("int64", json!(-9_223_372_036_854_776_000.0), Value::Int(i64::MIN)),
        ("int64", json!(u64::MAX), Value::Double(18_446_744_073_709_551_615.0)),
        ("float64", json!([]), Value::String("[]".to_owned())),
        ("binary", json!("?"), Value::String("?".to_owned())),
        ("INT64", json!("7"), Value::Int(7)),
        ("duration", json!(true), Value::Bool(true)),
    ] {
        assert_eq!(value(kind, json.clone()).unwrap(), expected, "{kind} {json}");
    }
    let span = read_span(&json!({ "tags": [{}, { "key": 7, "type": null }] })).unwrap();
    assert_eq!(span.attributes, [attribute("", Value::Empty), attribute("7", Value::Empty)]);
}

#[test]
fn parses_references_into_parent_and_links() {
    let reference =
        |kind: &str, trace: &str, span: &str| json!({ "refType": kind, "traceID": trace, "spanID": span });
    let of = |references: &[Json]| {
        let span = read_span(&json!({ "references": references })).unwrap();
        (span.parent.map(|id| id.0), span.links)
    };
    let child_of = |link| Link { attributes: vec![text("opentracing.ref_type", "child_of")], ..link };
    let [parent, other] = [reference("CHILD_OF", "11", "1"), reference("CHILD_OF", "22", "2")];
    let follows = reference("FOLLOWS_FROM", "11", "3");
    let zero = reference("FOLLOWS_FROM", "0000000000000000", "");
    assert_eq!(of(std::slice::from_ref(&parent)), (Some(1), vec![]));
    let links = vec![child_of(link(0x22, 2)), link(0x11, 3)];
    assert_eq!(
        of(&[other.clone(), follows.clone(), parent]),
        (Some(1), vec![links[0].clone(), links[1].clone()])
    );
    assert_eq!(
        of(&[other.clone(), follows.clone()]),
        (None, links),
        "a FOLLOWS_FROM that is not the first reference is a link"
    );
    assert_eq!(
        of(&[follows.clone(), other.clone()]),
        (Some(3), vec![follows_from(link(0x11, 3)), child_of(link(0x22, 2))]),
        "a FOLLOWS_FROM that is the first reference is the parent"
    );
    assert_eq!(of(&[zero, other]), (None, vec![link(0, 0), child_of(link(0x22, 2))]));
    let [same_parent, unnamed] =
        [reference("CHILD_OF", "11", "3"), json!({ "refType": "CHILD_OF", "spanID": "4" })];
    assert_eq!(of(&[follows, same_parent]), (Some(3), vec![link(0x11, 3)]), "the CHILD_OF counts");
    assert_eq!(of(&[unnamed]), (Some(4), vec![]), "without a trace id the span is of the same trace");
    let other_type = |link| Link { attributes: vec![text("opentracing.ref_type", "LIKES")], ..link };
    assert_eq!(of(&[reference("LIKES", "11", "5")]), (None, vec![other_type(link(0x11, 5))]));
    assert_eq!(of(&[json!({})]), (None, vec![link(0x11, 0)]));
}

#[test]
fn keeps_the_parent_for_any_links() {
    let child_of = |link| Link { attributes: vec![text("opentracing.ref_type", "child_of")], ..link };
    let of = |parent: u64, links: Vec<Link>| Span { links, ..plain_span((9, parent, 0, 1000)) };
    for (span, references) in [
        (of(2, vec![follows_from(link(1, 2))]), json!([["FOLLOWS_FROM", "2"]])),
        (of(2, vec![child_of(link(1, 3))]), json!([["CHILD_OF", "2"], ["CHILD_OF", "3"]])),
        (
            of(2, vec![follows_from(link(1, 2)), child_of(link(1, 3))]),
            json!([["CHILD_OF", "2"], ["FOLLOWS_FROM", "2"], ["CHILD_OF", "3"]]),
        ),
        (
            of(2, vec![follows_from(link(1, 2)), child_of(link(7, 3))]),
            json!([["FOLLOWS_FROM", "2"], ["CHILD_OF", "3"]]),
        ),
        (of(0, vec![link(7, 2), link(1, 3)]), json!([["FOLLOWS_FROM", "2"], ["FOLLOWS_FROM", "3"]])),
    ] {
        let trace = Trace { spans: vec![span] };
        let json = write(&trace);
        let written = json["spans"][0]["references"].as_array().unwrap().iter();
        let id = |reference: &Json| reference["spanID"].as_str().unwrap().trim_start_matches('0').to_owned();
        let written: Vec<Json> =
            written.map(|reference| json!([reference["refType"], id(reference)])).collect();
        assert_eq!(json!(written), references);
        assert_eq!(read(&json).unwrap().spans[0].parent, trace.spans[0].parent, "{json}");
        assert_eq!(read(&json).unwrap().spans[0].links, trace.spans[0].links, "{json}");
    }
}

#[test]
fn warnings_become_an_attribute_as_in_jaeger() {
    let warnings = json!(["clock skew", "late"]);
    let span = read_span(&json!({ "warnings": warnings })).unwrap();
    let list = ["clock skew", "late"].map(|text| Value::String(text.to_owned())).to_vec();
    assert_eq!(span.attributes, [attribute("@jaeger@warnings", Value::Array(list))]);
    let written = write(&Trace { spans: vec![span] });
    assert_eq!((&written["spans"][0]["warnings"], &written["spans"][0]["tags"]), (&warnings, &json!([])));
    let odd = Span { attributes: vec![text("@jaeger@warnings", "one")], ..plain_span((1, 0, 0, 1)) };
    assert_eq!(
        write(&Trace { spans: vec![odd] })["spans"][0]["warnings"],
        json!(["one"]),
        "any type, as in Jaeger"
    );
    for none in [json!(null), json!([])] {
        assert_eq!(read_span(&json!({ "warnings": none })).unwrap().attributes, []);
    }
    let span = read_span(&json!({ "warnings": [7] })).unwrap();
    assert_eq!(write(&Trace { spans: vec![span] })["spans"][0]["warnings"], json!(["7"]));
}

#[test]
fn two_event_fields_stay_attributes() {
    let field = |value: &str| json!({ "key": "event", "type": "string", "value": value });
    let fields = json!([field("a"), field("b")]);
    let span = read_span(&json!({ "logs": [{ "timestamp": 1, "fields": fields }] })).unwrap();
    assert_eq!(span.events[0].name, "");
    assert_eq!(write(&Trace { spans: vec![span] })["spans"][0]["logs"][0]["fields"], fields);
}

#[test]
fn resources_with_equal_json_share_a_process() {
    let of = |id, value| {
        let resource = Resource { attributes: vec![attribute("a", value)], ..Resource::default() };
        Span { resource: Arc::new(resource), ..plain_span((id, 0, 0, 1)) }
    };
    let written = write(&Trace { spans: vec![of(1, Value::Empty), of(2, Value::String(String::new()))] });
    assert_eq!(written["processes"].as_object().unwrap().len(), 1, "{written}");
    assert_eq!(write(&read(&written).unwrap()), written);
}

#[test]
fn accepts_missing_fields_and_negative_and_fractional_times_as_the_ui_does() {
    let times = |start: Json, duration: Json| {
        let span = read_span(&json!({ "startTime": start, "duration": duration })).unwrap();
        (span.start_ns, span.end_ns)
    };
    let start = 1_795_672_181_741_167_u64;
    assert_eq!(times(json!(start), json!(-5)), (start * 1000, (start - 5) * 1000));
    assert_eq!(
        times(json!(1_795_672_181_741_167.5), json!(12.25)),
        (start * 1000 + 500, start * 1000 + 12_750)
    );
    assert_eq!(times(json!("17"), json!("2.5")), (17_000, 19_500));
    assert_eq!(times(json!(null), json!(null)), (0, 0));
    assert_eq!(times(json!(-3), json!(5)), (0, 5000));
    assert_eq!(times(json!(3), json!(-5)), (3000, 0), "an end before 1970");
    let trace = read(
        &json!({ "traceID": "11", "spans": [{ "spanID": "1" }, { "spanID": "2", "parentSpanID": "1" }] }),
    )
    .unwrap();
    let [span, child] = &trace.spans[..] else { panic!("{trace:?}") };
    assert_eq!((span.trace_id, span.parent, span.name.as_str()), (TraceId(0x11), None, ""));
    assert_eq!((span.resource.attributes.len(), span.service()), (0, "missing-service-name"));
    assert!(Arc::ptr_eq(&span.resource, &child.resource));
    assert_eq!(child.parent, Some(SpanId(1)));
    let embedded = read_span(&json!({ "process": { "serviceName": "own" }, "processID": null })).unwrap();
    assert_eq!(embedded.service(), "own");
    for processes in [json!({ "p1": null }), json!({ "p1": {} }), json!(null)] {
        let json = json!({ "traceID": "11", "spans": [{ "spanID": "1", "processID": "p1" }], "processes": processes });
        assert_eq!(read(&json).unwrap().spans[0].resource.attributes, []);
    }
    let event = read_span(&json!({ "logs": [{ "timestamp": 1.5 }, {}] })).unwrap().events;
    assert_eq!(event.iter().map(|event| event.time_ns).collect::<Vec<_>>(), [1500, 0]);
}

#[test]
fn rejects_invalid_traces_and_names_the_trace_the_span_and_the_position() {
    let place = "trace 00000000000000000000000000000011, span 00000000000000aa: ";
    for (fields, named) in [
        (json!({ "startTime": {} }), "startTime: invalid type: map, expected a number of microseconds"),
        (
            json!({ "duration": "x" }),
            "duration: invalid value: string \"x\", expected a number of microseconds",
        ),
        (json!({ "tags": 7 }), "tags: invalid type: integer `7`, expected a list or null"),
        (
            json!({ "references": [{ "traceID": "1", "spanID": "zz" }] }),
            "references: id must be 1 to 16 hexadecimal",
        ),
        (json!({ "parentSpanID": "zz" }), "parentSpanID: id must be 1 to 16 hexadecimal"),
        (json!({ "logs": [{ "timestamp": u64::MAX }] }), "logs: 18446744073709551615 µs exceed the range"),
        (
            json!({ "logs": vec![json!({ "timestamp": 1 }); 20_001] }),
            "logs: a list of more than 20000 elements",
        ),
        (json!({ "startTime": u64::MAX }), "18446744073709551615 µs exceed the range"),
        (json!({ "startTime": u64::MAX / 1000, "duration": 1000 }), "ends in the year 2554"),
    ] {
        let error = read_span(&fields).unwrap_err();
        let text = error.to_string();
        assert!(text.starts_with(place) && text.contains(named), "{text}");
        assert_eq!((error.line(), error.column() > 50), (1, true), "{text}");
    }
    for (fields, named) in [
        (json!({ "traceID": "zz" }), "trace 00000000000000000000000000000011, span "),
        (
            json!({ "spanID": "0" }),
            "trace 00000000000000000000000000000011, span number 1: spanID: \"0\": id must be",
        ),
        (
            json!({ "spanID": null }),
            "trace 00000000000000000000000000000011, span number 1: spanID is missing",
        ),
    ] {
        let error = read_span(&fields).unwrap_err().to_string();
        assert!(error.contains(named), "{error}");
    }
    let span = |trace_id: &str| json!({ "traceID": trace_id, "spanID": "1" });
    let mixed = read(&json!({ "spans": [span("1"), span("2")] })).unwrap_err();
    assert!(mixed.to_string().contains("belongs to trace 00000000000000000000000000000002"), "{mixed}");
    let long = "z".repeat(1000);
    let invalid = read(&json!({ "traceID": long, "spans": [] })).unwrap_err().to_string();
    assert!(invalid.starts_with("traceID: \"zzz") && invalid.len() < 200, "{invalid}");
    let unnamed = read(&json!({ "spans": [{ "spanID": "1" }] })).unwrap_err();
    assert!(unnamed.to_string().contains("span 0000000000000001: traceID is missing"), "{unnamed}");
    let third = format!(r#"{{"traceID":"1","spans":[{},{},7]}}"#, span("1"), span("1"));
    let third = serde_json::from_str::<UiTrace>(&third).unwrap_err();
    assert!(third.to_string().contains("trace 00000000000000000000000000000001, span number 3"), "{third}");
    for json in [json!({}), json!([]), json!({ "traceID": "1" }), json!({ "resourceSpans": [] })] {
        assert!(read(&json).is_err(), "{json}");
    }
}
