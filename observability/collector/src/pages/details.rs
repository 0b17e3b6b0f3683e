//! All that a sender said of a span, behind its row.

use maud::{Markup, html};

use super::attributes::{self, SHOWN, missing};
use super::origins::Origins;
use super::room::Room;
use super::waterfall::Place;
use super::{quantity, text};
use crate::base_path::BasePath;
use crate::trace::{Event, Link, Span, StatusCode};

/// Bytes of a page's details: with some fifteen attributes each, those of a thousand spans take half of it.
pub(super) const BYTES: usize = 4 << 20;

/// What the details of a page share.
pub(super) struct Details<'a> {
    pub(super) base: &'a BasePath,
    pub(super) origins: &'a Origins,
    pub(super) room: &'a Room,
}

/// What the trace as a whole says of a span's time.
#[derive(Debug, Clone, Copy)]
pub(super) struct Times {
    pub(super) since_start_ns: u64,
    pub(super) self_ns: u64,
    pub(super) critical_ns: u64,
}

impl Details<'_> {
    pub(super) fn of(&self, span: &Span, place: Place, times: Times) -> Markup {
        html! {
            .details {
                (self.facts(span, place, times))
                (attributes::table(self.room, &html! { caption { "Attributes" } }, &span.attributes, span.dropped[0]))
                (self.events(span, times))
                (self.links(span))
            }
        }
    }

    fn facts(&self, span: &Span, place: Place, times: Times) -> Markup {
        html! {
            dl {
                (fact("Status", &self.status(span)))
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
                (fact("Resource", &self.origins.resource(span)))
                @if let Some(scope) = self.origins.scope(span) { (fact("Made by", &scope)) }
                @if !span.trace_state.is_empty() { (fact("Tracestate", &self.room.value(&span.trace_state))) }
            }
        }
    }

    fn status(&self, span: &Span) -> Markup {
        html! {
            @match span.status.code {
                StatusCode::Error => span.tag.bad { "error" },
                other => (other.as_str()),
            }
            @if !span.status.message.is_empty() { " " (self.room.value(&span.status.message)) }
        }
    }

    fn events(&self, span: &Span, times: Times) -> Markup {
        let trace_start_ns = span.start_ns - times.since_start_ns;
        let rows = self.room.list(span.events.iter().take(SHOWN), |event| self.event(event, trace_start_ns));
        html! {
            @if !rows.is_empty() {
                table {
                    caption { "Events" }
                    thead.visually-hidden { tr { th scope="col" { "Time" } th scope="col" { "Event" } th scope="col" { "Attributes" } } }
                    tbody { @for row in &rows { (row) } }
                }
            }
            (missing(span.events.len(), rows.len(), span.dropped[1], "event"))
        }
    }

    fn event(&self, event: &Event, trace_start_ns: u64) -> Markup {
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
                td { (attributes::pairs(self.room, &event.attributes, event.dropped_attributes)) }
            }
        }
    }

    fn links(&self, span: &Span) -> Markup {
        let rows = self.room.list(span.links.iter().take(SHOWN), |link| self.link(link));
        html! {
            @if !rows.is_empty() {
                table {
                    caption { "Links" }
                    thead.visually-hidden { tr { th scope="col" { "Span" } th scope="col" { "Attributes" } } }
                    tbody { @for row in &rows { (row) } }
                }
            }
            (missing(span.links.len(), rows.len(), span.dropped[2], "link"))
        }
    }

    fn link(&self, link: &Link) -> Markup {
        let base = self.base.as_str();
        html! {
            tr {
                th scope="row" {
                    @match (link.trace_id, link.span_id) {
                        (Some(trace), Some(span)) => a href={ (base) "/trace/" (trace) "#s" (span) } {
                            "span " code { (span) } " of trace " code { (trace) }
                        },
                        (Some(trace), None) => a href={ (base) "/trace/" (trace) } { "trace " code { (trace) } },
                        (None, _) => span.soft { "without a valid id" },
                    }
                }
                td {
                    (attributes::pairs(self.room, &link.attributes, link.dropped_attributes))
                    @if !link.trace_state.is_empty() {
                        " " span.soft { "tracestate " } (self.room.value(&link.trace_state))
                    }
                }
            }
        }
    }
}

fn fact(term: &str, description: &Markup) -> Markup {
    html! { div { dt { (term) } dd { (description) } } }
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
