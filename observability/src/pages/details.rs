//! All that a sender said of a span, behind its row.

use maud::{Markup, html};

use super::waterfall::Place;
use super::{quantity, text};
use crate::collector::BasePath;
use crate::otlp::text::as_text;
use crate::span::{Attribute, Event, Link, Span, StatusCode, Value};

/// Attributes, events or links shown of each list.
const SHOWN: usize = 100;

/// What the trace as a whole says of a span's time.
#[derive(Debug, Clone, Copy)]
pub(super) struct Times {
    pub(super) since_start_ns: u64,
    pub(super) self_ns: u64,
    pub(super) critical_ns: u64,
}

pub(super) fn of(base: &BasePath, span: &Span, place: Place, times: Times) -> Markup {
    html! {
        .details {
            (facts(span, place, times))
            (attributes("Attributes", &span.attributes, span.dropped[0]))
            (events(span, times))
            (links(base, span))
            (scope(span))
            (attributes("Resource", &span.resource.attributes, span.resource.dropped_attributes))
        }
    }
}

fn facts(span: &Span, place: Place, times: Times) -> Markup {
    html! {
        dl {
            (fact("Status", &status(span)))
            (fact("Kind", &html! { (span.kind.as_str()) }))
            (fact("Start", &html! {
                time datetime=(quantity::instant(span.start_ns)) { (quantity::instant(span.start_ns)) }
                ", " (quantity::duration(times.since_start_ns)) " into the trace"
            }))
            (fact("Duration", &html! {
                (quantity::duration(span.duration_ns()))
                @if span.end_ns < span.start_ns { ": it ended before it started, by its sender's clock" }
            }))
            (fact("Without its children", &html! { (quantity::duration(times.self_ns)) }))
            (fact("On the critical path", &html! { (quantity::duration(times.critical_ns)) }))
            (fact("Span id", &html! { code { (span.span_id) } }))
            (fact("Parent", &parent(span, place)))
            @if !span.trace_state.is_empty() { (fact("Tracestate", &text::value(&span.trace_state))) }
            @if !span.resource.schema_url.is_empty() {
                (fact("Resource schema", &text::value(&span.resource.schema_url)))
            }
        }
    }
}

fn fact(term: &str, description: &Markup) -> Markup {
    html! { div { dt { (term) } dd { (description) } } }
}

fn status(span: &Span) -> Markup {
    html! {
        @match span.status.code {
            StatusCode::Error => span.tag.bad { "error" },
            other => (other.as_str()),
        }
        @if !span.status.message.is_empty() { " " (text::value(&span.status.message)) }
    }
}

fn parent(span: &Span, place: Place) -> Markup {
    html! {
        @match (span.parent, place) {
            (None, _) => "none",
            (Some(parent), Place::Orphan) => { code { (parent) } ", which has not come" },
            (Some(parent), Place::Circle) => {
                a href={ "#s" (parent) } { code { (parent) } } ", which is below this span itself"
            },
            (Some(parent), _) => a href={ "#s" (parent) } { code { (parent) } },
        }
    }
}

fn attributes(caption: &str, attributes: &[Attribute], dropped: u32) -> Markup {
    html! {
        @if !attributes.is_empty() {
            table {
                caption { (caption) }
                thead.visually-hidden { tr { th scope="col" { "Key" } th scope="col" { "Value" } th scope="col" { "Type" } } }
                tbody {
                    @for Attribute { key, value } in attributes.iter().take(SHOWN) {
                        tr {
                            th scope="row" { (text::name(key)) }
                            td { (text::value(&as_text(value))) }
                            td.soft { (type_name(value)) }
                        }
                    }
                }
            }
        }
        (missing(attributes.len(), dropped, "attribute"))
    }
}

fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Empty => "empty",
        Value::String(_) => "string",
        Value::Bool(_) => "bool",
        Value::Int(_) => "int",
        Value::Double(_) => "double",
        Value::Bytes(_) => "bytes, in base64",
        Value::Array(_) => "list",
        Value::Map(_) => "map",
    }
}

fn events(span: &Span, times: Times) -> Markup {
    let trace_start_ns = span.start_ns - times.since_start_ns;
    html! {
        @if !span.events.is_empty() {
            table {
                caption { "Events" }
                thead.visually-hidden { tr { th scope="col" { "Time" } th scope="col" { "Event" } th scope="col" { "Attributes" } } }
                tbody {
                    @for event in span.events.iter().take(SHOWN) { (self::event(event, trace_start_ns)) }
                }
            }
        }
        (missing(span.events.len(), span.dropped[1], "event"))
    }
}

fn event(event: &Event, trace_start_ns: u64) -> Markup {
    html! {
        tr {
            td.soft {
                @if event.time_ns < trace_start_ns {
                    "−" (quantity::duration(trace_start_ns - event.time_ns))
                } @else {
                    "+" (quantity::duration(event.time_ns - trace_start_ns))
                }
            }
            th scope="row" { (text::name(&event.name)) }
            td { (pairs(&event.attributes, event.dropped_attributes)) }
        }
    }
}

fn links(base: &BasePath, span: &Span) -> Markup {
    html! {
        @if !span.links.is_empty() {
            table {
                caption { "Links" }
                thead.visually-hidden { tr { th scope="col" { "Span" } th scope="col" { "Attributes" } } }
                tbody { @for link in span.links.iter().take(SHOWN) { (self::link(base, link)) } }
            }
        }
        (missing(span.links.len(), span.dropped[2], "link"))
    }
}

fn link(base: &BasePath, link: &Link) -> Markup {
    html! {
        tr {
            th scope="row" {
                @match (link.trace_id, link.span_id) {
                    (Some(trace), Some(span)) => a href={ (base.as_str()) "/trace/" (trace) "#s" (span) } {
                        "span " code { (span) } " of trace " code { (trace) }
                    },
                    (Some(trace), None) => a href={ (base.as_str()) "/trace/" (trace) } { "trace " code { (trace) } },
                    (None, _) => span.soft { "without a valid id" },
                }
            }
            td {
                (pairs(&link.attributes, link.dropped_attributes))
                @if !link.trace_state.is_empty() { " " span.soft { "tracestate " } (text::value(&link.trace_state)) }
            }
        }
    }
}

fn scope(span: &Span) -> Markup {
    let scope = &span.scope;
    html! {
        @if !scope.name.is_empty() || !scope.version.is_empty() {
            dl {
                (fact("Made by", &html! {
                    (text::name(&scope.name))
                    @if !scope.version.is_empty() { " " (text::name(&scope.version)) }
                }))
            }
        }
        (attributes("Scope", &scope.attributes, scope.dropped_attributes))
    }
}

fn pairs(attributes: &[Attribute], dropped: u32) -> Markup {
    html! {
        @for Attribute { key, value } in attributes.iter().take(SHOWN) {
            div.pair { span.soft { (text::name(key)) "=" } (text::value(&as_text(value))) " " small.soft { (type_name(value)) } }
        }
        (missing(attributes.len(), dropped, "attribute"))
    }
}

/// What is not shown of a list, and by whose doing.
fn missing(given: usize, dropped: u32, thing: &str) -> Markup {
    let hidden = given.saturating_sub(SHOWN);
    html! {
        @if hidden > 0 { p.hint { (quantity::count(hidden, &format!("more {thing}"))) " in the JSON." } }
        @if dropped > 0 { p.hint { (quantity::count(dropped as usize, thing)) " left out by the sender." } }
    }
}
