use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use prost::Message as _;
use serde_json::{Value as Json, json};

use super::*;
use crate::otlp::from_json_line;
use crate::trace::{Attribute, Kind as SpanKind, Span, StatusCode, Value};

const ID: &str = "5b8efff798038103d269b633813fc60c";

/// Reads a span from its members besides the ids.
fn read(members: &str) -> Result<Span, String> {
    let span = format!(r#"{{"traceId":"{ID}","spanId":"eee19b7ec3c1b174"{members}}}"#);
    let line = format!(r#"{{"resourceSpans":[{{"scopeSpans":[{{"spans":[{span}]}}]}}]}}"#);
    let trace = from_json_line(&line).map_err(|error| error.to_string())?;
    Ok(trace.spans.into_iter().next().unwrap())
}

/// Reads an attribute value.
fn value(json: &str) -> Result<Value, String> {
    read(&format!(r#","attributes":[{{"key":"k","value":{json}}}]"#))
        .map(|span| span.attributes[0].value.clone())
}

#[test]
fn conversion_equals_parsing_by_another_library() {
    let json = r#" {"resourceSpans":[
        {"schemaUrl":"r","resource":{"attributes":[{"key":"service.name","value":{"stringValue":"a"}}]},
         "scopeSpans":[{"spans":[{"traceId":"5b8efff798038103d269b633813fc60c","spanId":"eee19b7ec3c1b174",
             "name":"n","kind":2,"startTimeUnixNano":"7","endTimeUnixNano":9,
             "attributes":[{"key":"i","value":{"intValue":"-3"}},{"key":"l","value":{"arrayValue":{"values":[]}}}],
             "events":[{"name":"e"}],"links":[{"spanId":"eee19b7ec3c1b174"}],"status":{"code":2}},
            {"name":"without ids"}], "scope":{"name":"s","version":"1"}, "schemaUrl":"s"},
          {"spans":[],"unknown":[{}]}]},
        {}, {"resource":null}]} "#;
    let expected: ExportTraceServiceRequest = serde_json::from_str(json).unwrap();
    let (message, repairs) = to_protobuf(json.as_bytes()).unwrap();
    assert_eq!(ExportTraceServiceRequest::decode(message).unwrap(), expected);
    assert_eq!(expected.resource_spans[0].scope_spans[0].spans.len(), 2);
    assert_eq!(repairs, Repairs::default());
}

#[test]
fn an_error_names_the_trace_and_the_span() {
    let place = format!("trace {ID}, span eee19b7ec3c1b174: ");
    for (members, field) in [(r#","kind":"x""#, "kind"), (r#","events":[{"timeUnixNano":"x"}]"#, "events")] {
        let error = read(members).unwrap_err();
        assert!(error.starts_with(&format!("{place}{field}: ")), "{error}");
        assert!(error.contains(" at line 1 column "), "{error}");
    }
}

#[test]
fn absent_and_null_fields_have_their_default() {
    let plain = read("").unwrap();
    for name in [
        "parentSpanId",
        "traceState",
        "flags",
        "name",
        "kind",
        "startTimeUnixNano",
        "endTimeUnixNano",
        "attributes",
        "droppedAttributesCount",
        "events",
        "droppedEventsCount",
        "links",
        "droppedLinksCount",
        "status",
        "unknown",
    ] {
        assert_eq!(read(&format!(r#","{name}":null"#)), Ok(plain.clone()), "{name}");
    }
    for json in ["null", "{}", r#"{"stringValue":null}"#, r#"{"unknown":{"a":[1]}}"#] {
        assert_eq!(value(json), Ok(Value::Empty), "{json}");
    }
    let empty_list = Value::Array(vec![Value::Empty, Value::Empty]);
    for (json, expected) in [
        (r#"{"arrayValue":{}}"#, Value::Array(Vec::new())),
        (r#"{"arrayValue":{"values":null}}"#, Value::Array(Vec::new())),
        (r#"{"arrayValue":{"values":[{},null]}}"#, empty_list),
        (r#"{"kvlistValue":{}}"#, Value::Map(Vec::new())),
        (
            r#"{"kvlistValue":{"values":[{}]}}"#,
            Value::Map(vec![Attribute { key: String::new(), value: Value::Empty }]),
        ),
    ] {
        assert_eq!(value(json), Ok(expected), "{json}");
    }
    for (json, spans) in [
        ("{}", 0),
        (r#"{"resourceSpans":null}"#, 0),
        (r#"{"resourceSpans":[null,{"scopeSpans":[null,{"scope":null,"spans":[null]}]}]}"#, 0),
        (
            "\u{feff}{\"resource_spans\":[{\"scope_spans\":[{\"spans\":[{\"trace_id\":\"5b8efff798038103d269b633813fc60c\",\"span_id\":\"eee19b7ec3c1b174\"}]}]}]}",
            1,
        ),
    ] {
        assert_eq!(
            from_json_line(json).map(|trace| trace.spans.len()).map_err(|error| error.to_string()),
            Ok(spans),
            "{json}"
        );
    }
}

#[test]
fn numbers_may_be_strings_and_enums_names() {
    for (json, expected) in
        [("7", 7), ("\"7\"", 7), ("7.0", 7), ("1e3", 1000), ("\"1e3\"", 1000), ("\"7.0\"", 7)]
    {
        let members = format!(r#","flags":{json},"droppedLinksCount":{json},"startTimeUnixNano":{json}"#);
        let span = read(&members).unwrap();
        assert_eq!(
            (span.flags, span.dropped[2], span.start_ns),
            (expected, expected, expected.into()),
            "{json}"
        );
        assert_eq!(value(&format!(r#"{{"intValue":{json}}}"#)), Ok(Value::Int(expected.into())));
        assert_eq!(value(&format!(r#"{{"doubleValue":{json}}}"#)), Ok(Value::Double(expected.into())));
    }
    let largest =
        read(r#","startTimeUnixNano":18446744073709551615,"endTimeUnixNano":"18446744073709551615""#)
            .unwrap();
    assert_eq!((largest.start_ns, largest.end_ns), (u64::MAX, u64::MAX));
    assert_eq!(value(r#"{"intValue":"-9223372036854775808"}"#), Ok(Value::Int(i64::MIN)));
    for (json, expected) in [
        ("\"-Infinity\"", f64::NEG_INFINITY),
        ("\"Infinity\"", f64::INFINITY),
        ("\"1.2\"", 1.2),
        ("-0.0", -0.0),
    ] {
        let Ok(Value::Double(read)) = value(&format!(r#"{{"doubleValue":{json}}}"#)) else {
            panic!("{json}")
        };
        assert_eq!(read.to_bits(), expected.to_bits(), "{json}");
    }
    assert!(matches!(value(r#"{"doubleValue":"NaN"}"#), Ok(Value::Double(number)) if number.is_nan()));
    for kind in ["3", "\"3\"", "\"SPAN_KIND_CLIENT\""] {
        assert_eq!(read(&format!(r#","kind":{kind}"#)).map(|span| span.kind), Ok(SpanKind::Client), "{kind}");
    }
    let failed = read(r#","status":{"code":"STATUS_CODE_ERROR","message":"m"}"#).unwrap();
    assert_eq!((failed.status.code, failed.status.message.as_str()), (StatusCode::Error, "m"));
}

#[test]
fn bytes_are_base64_of_either_alphabet_with_or_without_padding() {
    for json in ["+/8=", "-_8=", "+/8", "-_8"] {
        assert_eq!(
            value(&format!(r#"{{"bytesValue":"{json}"}}"#)),
            Ok(Value::Bytes(vec![0xfb, 0xff])),
            "{json}"
        );
    }
}

#[test]
fn the_last_of_repeated_fields_counts() {
    let span = read(
        r#","name":"a","attributes":[{"key":"a"},{"key":"b"}],"status":{"code":2,"message":"m"},"kind":2,"name":"b",
            "attributes":[{"key":"c","key":"d"}],"status":{"code":1},"kind":null"#,
    );
    let span = span.unwrap();
    let keys: Vec<_> = span.attributes.iter().map(|attribute| attribute.key.as_str()).collect();
    assert_eq!((span.name.as_str(), keys, span.kind), ("b", vec!["d"], SpanKind::Unspecified));
    assert_eq!((span.status.code, span.status.message.as_str()), (StatusCode::Ok, ""));
    for (json, expected) in [
        (r#"{"stringValue":"a","intValue":1}"#, Value::Int(1)),
        (r#"{"stringValue":"a","intValue":null}"#, Value::String("a".to_owned())),
        (
            r#"{"arrayValue":{"values":[{"intValue":1}]},"arrayValue":{"values":[{"intValue":2}]}}"#,
            Value::Array(vec![Value::Int(2)]),
        ),
        (r#"{"intValue":1,"intValue":null}"#, Value::Empty),
        (r#"{"boolValue":true,"arrayValue":{},"string_value":"x"}"#, Value::String("x".to_owned())),
    ] {
        assert_eq!(value(json), Ok(expected), "{json}");
    }
}

#[test]
fn rejects_invalid_messages_and_names_the_position() {
    for (json, why) in [
        ("[]", "not a JSON object"),
        ("null", "not a JSON object"),
        (r#"{"resourceSpans":7}"#, "expected a list"),
        (r#"{"resourceSpans":[[]]}"#, "expected an object"),
        (r#"{"resourceSpans":[{"#, "EOF"),
        ("{}{}", "trailing characters"),
    ] {
        let error = to_protobuf(json.as_bytes()).unwrap_err().to_string();
        assert!(error.contains(why), "{json}: {error}");
    }
    for members in [
        r#","traceId":7"#,
        r#","traceId":"abc""#,
        r#","traceId":"zz""#,
        r#","kind":"SERVER""#,
        r#","flags":-1"#,
        r#","flags":4294967296"#,
        r#","flags":1.5"#,
        r#","flags":"x""#,
        r#","startTimeUnixNano":18446744073709551616"#,
        r#","name":7"#,
        r#","status":[]"#,
        r#","attributes":{}"#,
        r#","flags":true"#,
    ] {
        let error = read(members).unwrap_err();
        assert!(error.contains("at line 1 column"), "{members}: {error}");
    }
    for json in [
        r#"{"doubleValue":"inf"}"#,
        r#"{"doubleValue":"1e999"}"#,
        r#"{"intValue":1e30}"#,
        r#"{"bytesValue":"="}"#,
        r#"{"boolValue":"true"}"#,
        "7",
        r#"{"stringValue":1}"#,
    ] {
        assert!(value(json).is_err(), "{json}");
    }
}

#[test]
fn values_are_read_up_to_the_maximum_depth_and_cut_below() {
    let nested = |depth: usize| {
        let leaf = json!({ "intValue": 1 });
        (0..depth).fold(leaf, |value, level| match level % 2 {
            0 => json!({ "arrayValue": { "values": [value] } }),
            _ => json!({ "kvlistValue": { "values": [{ "key": "k", "value": value }] } }),
        })
    };
    let message = |value: Json| {
        let span = json!({ "traceId": ID, "spanId": "eee19b7ec3c1b174", "attributes": [{ "key": "k", "value": value }] });
        json!({ "resourceSpans": [{ "scopeSpans": [{ "spans": [span] }] }] }).to_string()
    };
    let read = |depth| {
        let (_, repairs) = to_protobuf(message(nested(depth)).as_bytes()).unwrap();
        let span = from_json_line(&message(nested(depth))).unwrap().spans.remove(0);
        let (mut value, mut found) = (span.attributes[0].value.clone(), 0);
        loop {
            value = match value {
                Value::Array(mut list) => list.remove(0),
                Value::Map(mut map) => map.remove(0).value,
                leaf => return (found, leaf, repairs.cuts),
            };
            found += 1;
        }
    };
    assert_eq!(read(MAX_DEPTH), (MAX_DEPTH, Value::Int(1), 0));
    assert_eq!(read(MAX_DEPTH + 1), (MAX_DEPTH, Value::String(TOO_DEEP.to_owned()), 1));
    let hostile = format!(r#"{}{}"#, r#"{"arrayValue":{"values":["#.repeat(200_000), "]}}".repeat(200_000));
    let cut = value(&hostile).unwrap();
    assert!(format!("{cut:?}").contains(TOO_DEEP));
}
