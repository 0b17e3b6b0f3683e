use opentelemetry_proto::tonic::common::v1::any_value::Value as ProtoValue;
use opentelemetry_proto::tonic::common::v1::{
    AnyValue, ArrayValue, EntityRef, InstrumentationScope, KeyValueList,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::span::{Event, Link};
use opentelemetry_proto::tonic::trace::v1::{Span, Status};
use prost::Message as _;

use super::*;
use crate::fixture::{proto_attribute as attribute, proto_span, proto_text as text};
use crate::otlp::MAX_MESSAGE;
use crate::otlp::encoded::{push_bytes, push_nested};
use crate::otlp::repair::{self, Repairs};

fn plain() -> Span {
    let ids = (u128::from_be_bytes([1; 16]), u64::from_be_bytes([2; 8]));
    Span { name: "GET /cart".to_owned(), ..proto_span(ids.0, ids.1) }
}

/// Returns why a span is invalid; `None` if it is valid.
fn verdict(span: &Span) -> Option<Invalid> {
    verdict_of(&span.encode_to_vec())
}

fn verdict_of(message: &[u8]) -> Option<Invalid> {
    span(message, &mut Vec::new(), &mut SearchTerms::default()).err()
}

#[test]
fn the_header_followed_by_the_body_decodes_to_the_span() {
    let full = Span {
        parent_span_id: vec![3; 8],
        kind: 2,
        start_time_unix_nano: 5,
        end_time_unix_nano: 9,
        trace_state: "a=b".to_owned(),
        attributes: vec![attribute("a", text("1"))],
        status: Some(Status { code: 2, message: "boom".to_owned() }),
        flags: 1,
        ..plain()
    };
    let message = full.encode_to_vec();
    let mut body = Vec::new();
    let head = span(&message, &mut body, &mut SearchTerms::default()).unwrap();
    assert_eq!((head.trace_id.0, head.span_id.0), (u128::from_be_bytes([1; 16]), u64::from_be_bytes([2; 8])));
    assert_eq!(head.parent, Some(SpanId(u64::from_be_bytes([3; 8]))));
    assert_eq!((head.name, head.kind, head.error), ("GET /cart", Kind::Server, true));
    assert_eq!((head.start_ns, head.end_ns), (5, 9));
    let rest = Span {
        trace_id: Vec::new(),
        span_id: Vec::new(),
        parent_span_id: Vec::new(),
        start_time_unix_nano: 0,
        end_time_unix_nano: 0,
        ..full
    };
    assert_eq!(Span::decode(body.as_slice()).unwrap(), rest);
}

#[test]
fn rejects_invalid_ids_and_treats_a_parent_of_zeros_as_none() {
    assert_eq!(verdict(&plain()), None);
    for (trace_id, span_id, parent) in [(15, 8, 0), (16, 7, 0), (0, 8, 0), (16, 0, 0), (16, 8, 7), (32, 8, 0)]
    {
        let ids = Span {
            trace_id: vec![1; trace_id],
            span_id: vec![1; span_id],
            parent_span_id: vec![1; parent],
            ..plain()
        };
        assert_eq!(verdict(&ids), Some(Invalid::Id), "{trace_id} {span_id} {parent}");
    }
    assert_eq!(verdict(&Span { trace_id: vec![0; 16], ..plain() }), Some(Invalid::Id));
    assert_eq!(verdict(&Span { parent_span_id: vec![0; 8], ..plain() }), None);
}

#[test]
fn rejects_invalid_utf_8_in_every_field() {
    let marked = |value| vec![attribute("key", value)];
    let everywhere = [
        Span { name: "MARK".to_owned(), ..plain() },
        Span { trace_state: "MARK".to_owned(), ..plain() },
        Span { attributes: marked(text("MARK")), ..plain() },
        Span { attributes: vec![attribute("MARK", text(""))], ..plain() },
        Span { events: vec![Event { name: "MARK".to_owned(), ..Event::default() }], ..plain() },
        Span { events: vec![Event { attributes: marked(text("MARK")), ..Event::default() }], ..plain() },
        Span { links: vec![Link { trace_state: "MARK".to_owned(), ..Link::default() }], ..plain() },
        Span { links: vec![Link { attributes: marked(text("MARK")), ..Link::default() }], ..plain() },
        Span { status: Some(Status { message: "MARK".to_owned(), code: 0 }), ..plain() },
        Span {
            attributes: marked(ProtoValue::ArrayValue(ArrayValue {
                values: vec![AnyValue { value: Some(text("MARK")) }],
            })),
            ..plain()
        },
        Span {
            attributes: marked(ProtoValue::KvlistValue(KeyValueList { values: marked(text("MARK")) })),
            ..plain()
        },
    ];
    for (number, good) in everywhere.iter().enumerate() {
        assert_eq!(verdict(good), None, "{number}");
        let mut message = good.encode_to_vec();
        let at = message.windows(4).position(|window| window == b"MARK").unwrap();
        message[at] = 0xff;
        assert_eq!(verdict_of(&message), Some(Invalid::Malformed(Malformed::NotUtf8)), "{number}");
        assert!(Span::decode(message.as_slice()).is_err(), "{number}: prost agrees");
        let mut repairs = Repairs::default();
        let repaired = repair::span(&message, MAX_MESSAGE, &mut repairs).unwrap();
        assert_eq!((verdict_of(&repaired), repairs), (None, Repairs { strings: 1, cuts: 0 }), "{number}");
        assert!(
            format!("{:?}", Span::decode(repaired.as_slice()).unwrap()).contains("\u{fffd}ARK"),
            "{number}"
        );
        let unchanged = good.encode_to_vec();
        assert_eq!(repair::span(&unchanged, MAX_MESSAGE, &mut repairs), Ok(unchanged), "{number}");
    }
}

#[test]
fn repairs_invalid_utf_8_in_resources_scopes_and_schemas() {
    let entity = EntityRef { r#type: "MARK".to_owned(), ..EntityRef::default() };
    let id = EntityRef { id_keys: vec!["MARK".to_owned()], ..EntityRef::default() };
    let resources = [
        Resource { attributes: vec![attribute("MARK", text(""))], ..Resource::default() },
        Resource { entity_refs: vec![entity], ..Resource::default() },
        Resource { entity_refs: vec![id], ..Resource::default() },
    ];
    let scopes = [
        InstrumentationScope { name: "MARK".to_owned(), ..InstrumentationScope::default() },
        InstrumentationScope { version: "MARK".to_owned(), ..InstrumentationScope::default() },
    ];
    let is_valid = |message: &[u8], is_resource| {
        let (encoded, mut terms) = (Encoded { message, schema: b"" }, SearchTerms::default());
        if is_resource { resource(encoded, &mut terms).is_ok() } else { scope(encoded, &mut terms).is_ok() }
    };
    let resources = resources.iter().map(|resource| (resource.encode_to_vec(), true));
    for (mut message, is_resource) in
        resources.chain(scopes.iter().map(|scope| (scope.encode_to_vec(), false)))
    {
        assert!(is_valid(&message, is_resource));
        let at = message.windows(4).position(|window| window == b"MARK").unwrap();
        message[at] = 0xff;
        assert!(!is_valid(&message, is_resource));
        let mut repairs = Repairs::default();
        let repair = if is_resource { repair::resource } else { repair::scope };
        assert!(is_valid(&repair(&message, MAX_MESSAGE, &mut repairs).unwrap(), is_resource));
        assert_eq!(repairs.strings, 1);
    }
    let schema = Encoded { message: b"", schema: b"\xff" };
    let invalid = Invalid::Malformed(Malformed::NotUtf8);
    assert_eq!(resource(schema, &mut SearchTerms::default()), Err(invalid));
    assert_eq!(scope(schema, &mut SearchTerms::default()), Err(invalid));
}

#[test]
fn rejects_values_that_are_too_deep_or_have_too_many_parts() {
    let nested = |depth: usize| {
        let mut value = text("core");
        for _ in 0..depth {
            value = ProtoValue::ArrayValue(ArrayValue { values: vec![AnyValue { value: Some(value) }] });
        }
        Span { attributes: vec![attribute("deep", value)], ..plain() }
    };
    assert_eq!(verdict(&nested(MAX_DEPTH)), None);
    assert_eq!(verdict(&nested(MAX_DEPTH + 1)), Some(Invalid::TooDeep));
    let wide = |parts| Span { events: vec![Event::default(); parts], ..plain() };
    assert_eq!(verdict(&wide(MAX_PARTS)), None);
    assert_eq!(verdict(&wide(MAX_PARTS + 1)), Some(Invalid::TooManyParts));
}

/// Returns the repaired form of a span, which must be valid, and the number of cuts.
fn repaired(span: &Span) -> (Span, u64) {
    let mut repairs = Repairs::default();
    let message = repair::span(&span.encode_to_vec(), MAX_MESSAGE, &mut repairs).unwrap();
    assert_eq!(verdict_of(&message), None);
    (Span::decode(message.as_slice()).unwrap(), repairs.cuts)
}

#[test]
fn cuts_and_marks_parts_beyond_the_maximum_number() {
    let (cut, count) = repaired(&Span {
        attributes: vec![attribute("k", ProtoValue::IntValue(1)); 15_000],
        dropped_attributes_count: 7,
        events: vec![Event::default(); 15_000],
        links: vec![Link::default(); 3],
        dropped_links_count: u32::MAX,
        ..plain()
    });
    assert_eq!((cut.attributes.len(), cut.dropped_attributes_count), (15_000, 7));
    assert_eq!(cut.events.len() + cut.dropped_events_count as usize, 15_000);
    assert_eq!((cut.links.len(), cut.dropped_links_count), (0, u32::MAX));
    assert_eq!(count, u64::from(cut.dropped_events_count) + 3);
    assert!((4000..5000).contains(&cut.events.len()), "{}", cut.events.len());

    let items = vec![AnyValue::default(); 30_000];
    let (cut, count) = repaired(&Span {
        attributes: vec![attribute("list", ProtoValue::ArrayValue(ArrayValue { values: items }))],
        ..plain()
    });
    let Some(ProtoValue::ArrayValue(list)) = cut.attributes[0].value.clone().unwrap().value else { panic!() };
    assert_eq!(list.values.last().unwrap().value, Some(text(&format!("(cut: {count} more)"))));
    assert_eq!(list.values.len() as u64 - 1 + count, 30_000);

    let entries = vec![attribute("k", text("v")); 30_000];
    let map = ProtoValue::KvlistValue(KeyValueList { values: entries });
    let (cut, count) = repaired(&Span { attributes: vec![attribute("map", map)], ..plain() });
    let Some(ProtoValue::KvlistValue(map)) = cut.attributes[0].value.clone().unwrap().value else { panic!() };
    assert_eq!(map.values.last(), Some(&attribute("(cut)", text(&format!("{count} more")))));
}

#[test]
fn replaces_values_that_are_nested_too_deep() {
    let mut value = text("core");
    for _ in 0..MAX_DEPTH + 5 {
        value = ProtoValue::ArrayValue(ArrayValue { values: vec![AnyValue { value: Some(value) }] });
    }
    let mut repairs = Repairs::default();
    let message = Span { attributes: vec![attribute("deep", value)], ..plain() }.encode_to_vec();
    let repaired = repair::span(&message, MAX_MESSAGE, &mut repairs).unwrap();
    assert_eq!((verdict_of(&repaired), repairs.cuts), (None, 1));
    let decoded = crate::otlp::span(&repaired, &Default::default(), &Default::default()).unwrap();
    let shown = format!("{:?}", decoded.attributes[0].value);
    assert_eq!(shown.matches("Array").count(), MAX_DEPTH, "{shown}");
    assert!(shown.contains("(cut: nested more than 64 levels deep)"), "{shown}");
}

#[test]
fn of_the_members_of_a_value_the_last_one_counts() {
    // Lists that are nested too deep: each takes 2 bytes, and its marker 40.
    let mut value = [0x2a, 0].repeat(1 << 18);
    for _ in 0..MAX_DEPTH {
        let mut list = Vec::new();
        push_nested(&mut list, 5, |list| push_bytes(list, 1, &value));
        value = list;
    }
    let mut message = plain().encode_to_vec();
    push_nested(&mut message, 9, |attribute| {
        push_bytes(attribute, 1, b"deep");
        push_bytes(attribute, 2, &value);
    });
    let mut repairs = Repairs::default();
    let repaired = repair::span(&message, MAX_MESSAGE, &mut repairs).unwrap();
    assert!(repaired.len() < 1000, "{} bytes", repaired.len());
    assert_eq!((verdict_of(&repaired), repairs), (None, Repairs { strings: 0, cuts: 1 }));
}

#[test]
fn values_of_the_maximum_depth_survive_a_round_trip() {
    let mut value = Value::Int(1);
    for _ in 0..MAX_DEPTH {
        value = Value::Map(vec![crate::trace::Attribute { key: "k".to_owned(), value }]);
    }
    let mut span = crate::fixture::span((1, 0, 1, 2));
    span.attributes = vec![crate::trace::Attribute { key: "deep".to_owned(), value: value.clone() }];
    span.events = vec![crate::trace::Event { attributes: span.attributes.clone(), ..Default::default() }];
    let trace = crate::trace::Trace { spans: vec![span] };
    let line = crate::otlp::to_json_line(&trace).unwrap();
    assert_eq!(crate::otlp::from_json_line(&line).unwrap(), trace);
    let (message, _) = crate::otlp::json_to_protobuf(line.as_bytes()).unwrap();
    let ingest = crate::ingest::Ingest::new(1 << 20, None);
    assert_eq!(ingest.accept(&message, crate::ingest::Transport::Grpc).unwrap(), None, "ingest accepts it");
}

#[test]
fn rejects_field_numbers_that_prost_rejects() {
    let unknown = |key: &[u8]| [plain().encode_to_vec(), key.to_vec(), vec![0]].concat();
    let largest = unknown(&[0xf8, 0xff, 0xff, 0xff, 0x0f]);
    assert_eq!((verdict_of(&largest), Span::decode(&*largest).is_ok()), (None, true));
    let too_large = unknown(&[0x80, 0x80, 0x80, 0x80, 0x10]);
    assert_eq!(
        (verdict_of(&too_large), Span::decode(&*too_large).is_ok()),
        (Some(Invalid::Malformed(Malformed::WireType)), false)
    );
}

#[test]
fn accepts_a_truncated_span_only_if_prost_does() {
    let message =
        Span { attributes: vec![attribute("a", ProtoValue::IntValue(-1))], ..plain() }.encode_to_vec();
    for end in 0..message.len() {
        let cut = &message[..end];
        assert_eq!(
            verdict_of(cut).is_none(),
            Span::decode(cut).is_ok_and(|span| span.span_id.len() == 8),
            "{end}"
        );
    }
}
