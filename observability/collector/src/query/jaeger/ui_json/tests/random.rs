//! Random traces, converted to the UI's JSON and back.

use proptest::prelude::*;
use proptest::sample::Index;

use super::*;

/// Keys of tags that represent other fields of OTLP.
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

/// Values that the UI's JSON represents exactly.
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

/// Links to spans of trace 1, which is the trace itself, and of other traces.
fn any_link() -> impl Strategy<Value = Link> {
    (1..4_u128, 1..4_u64, any::<bool>()).prop_map(|(trace_id, span_id, is_child)| {
        let attributes = if is_child { vec![text("opentracing.ref_type", "child_of")] } else { vec![] };
        Link { attributes, ..link(trace_id, span_id) }
    })
}

type Parts = (Vec<Attribute>, Vec<Event>, Vec<Link>, Option<u64>, bool, Vec<String>);

/// Spans whose attributes have the given values and whose times are multiples of `unit` nanoseconds.
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
                if let Some(parent) = parent.filter(|_| is_linked) {
                    links.insert(0, follows_from(link(1, parent)));
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
                    status: Status { code, unknown_code: 0, message },
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
    // An empty name counts as missing.
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

/// Removes the links that the UI's JSON cannot represent.
fn representable(mut trace: Trace) -> Trace {
    for span in &mut trace.spans {
        let parent = span.parent;
        let is_within = |link: &Link| link.trace_id == Some(TraceId(1));
        let is_first = |links: &[Link]| links.first().is_some_and(is_within);
        // A link to the parent is kept if it is the first one and is marked.
        let is_linked = |links: &[Link]| {
            links.first().is_some_and(|first| {
                is_within(first) && first.span_id == parent && *first == follows_from(first.clone())
            })
        };
        if parent.is_some() {
            let first = is_linked(&span.links).then(|| span.links.remove(0));
            span.links.retain(|link| !is_within(link) || link.span_id != parent);
            span.links.splice(0..0, first);
        } else {
            span.links.retain(|link| !is_within(link) || link.attributes.is_empty());
            while is_first(&span.links) {
                span.links.remove(0);
            }
        }
    }
    trace
}

/// Adds attributes with reserved keys.
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
    fn a_representable_trace_round_trips(trace in any_trace(plain_value().boxed(), 1000)) {
        let trace = representable(trace);
        prop_assert_eq!(read(&write(&trace)).unwrap(), trace);
    }

    #[test]
    fn the_json_of_any_trace_round_trips(trace in any_trace(any_value().boxed(), 1)) {
        let json = write(&representable(trace));
        prop_assert_eq!(write(&read(&json).unwrap()), json);
    }

    #[test]
    fn a_second_round_trip_changes_nothing(
        trace in any_trace(any_value().boxed(), 1),
        names in prop::collection::vec((any::<Index>(), plain_value()), 0..8),
    ) {
        let once = write(&read(&write(&with_reserved(trace, &names))).unwrap());
        prop_assert_eq!(write(&read(&once).unwrap()), once);
    }

    #[test]
    fn damaged_json_never_causes_a_panic(
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
