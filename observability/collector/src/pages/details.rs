//! The details of a span, which open below its row.

use maud::{Markup, html};

use super::attributes::{self, SHOWN, missing};
use super::budget::MarkupBudget;
use super::resource_scopes::ResourceScopeSections;
use super::text;
use crate::base_path::BasePath;
use crate::blame::waterfall::Placement;
use crate::format;
use crate::trace::{Event, Link, Span, StatusCode};

/// Maximum size of the details of a page, in bytes of markup. 1000 spans with 15 attributes each take half of it.
pub(super) const MAX_BYTES: usize = 4 << 20;

/// Shared context of the details on a page.
pub(super) struct Details<'a> {
    pub(super) base: &'a BasePath,
    pub(super) resource_scopes: &'a ResourceScopeSections,
    pub(super) budget: &'a MarkupBudget,
}

/// Times of a span that depend on its trace.
#[derive(Debug, Clone, Copy)]
pub(super) struct Times {
    pub(super) trace_start_ns: u64,
    pub(super) self_ns: u64,
    pub(super) critical_ns: u64,
}

impl Details<'_> {
    pub(super) fn render(&self, span: &Span, placement: Placement, times: Times) -> Markup {
        html! {
            .details {
                (self.facts(span, placement, times))
                (attributes::table(self.budget, &html! { caption { "Attributes" } }, &span.attributes, span.dropped[0]))
                (self.events(span, times))
                (self.links(span))
            }
        }
    }

    fn facts(&self, span: &Span, placement: Placement, times: Times) -> Markup {
        html! {
            dl {
                (fact("Status", &self.status(span)))
                (fact("Kind", &html! { (span.kind.as_str()) }))
                (fact("Start", &html! {
                    @if span.start_ns == 0 {
                        "not reported by the sender"
                    } @else {
                        time datetime=(format::instant(span.start_ns)) { (format::instant(span.start_ns)) }
                        ", " (format::duration(span.start_ns.saturating_sub(times.trace_start_ns))) " into the trace"
                    }
                }))
                (fact("Duration", &html! {
                    (format::duration(span.duration_ns()))
                    @if span.start_ns > 0 && span.end_ns < span.start_ns { " (the sender reported an end before the start)" }
                }))
                (fact("Self time", &html! { (format::duration(times.self_ns)) }))
                (fact("On the critical path", &html! { (format::duration(times.critical_ns)) }))
                (fact("Span id", &html! { code { (span.span_id) } }))
                (fact("Parent", &parent(span, placement)))
                (fact("Resource", &self.resource_scopes.resource(span)))
                @if let Some(scope) = self.resource_scopes.scope(span) { (fact("Scope", &scope)) }
                @if !span.trace_state.is_empty() { (fact("Tracestate", &self.budget.value(&span.trace_state))) }
            }
        }
    }

    fn status(&self, span: &Span) -> Markup {
        html! {
            @match span.status.code {
                StatusCode::Error => span.tag.bad { "error" },
                other => (other.as_str()),
            }
            @if !span.status.message.is_empty() { " " (self.budget.value(&span.status.message)) }
        }
    }

    fn events(&self, span: &Span, times: Times) -> Markup {
        let rows =
            self.budget.list(span.events.iter().take(SHOWN), |event| self.event(event, times.trace_start_ns));
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
                        "−" (format::duration(trace_start_ns - event.time_ns))
                    } @else {
                        "+" (format::duration(event.time_ns - trace_start_ns))
                    }
                }
                th scope="row" { (text::name(&event.name)) }
                td { (attributes::pairs(self.budget, &event.attributes, event.dropped_attributes)) }
            }
        }
    }

    fn links(&self, span: &Span) -> Markup {
        let rows = self.budget.list(span.links.iter().take(SHOWN), |link| self.link(link));
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
                        (None, _) => span.soft { "invalid id" },
                    }
                }
                td {
                    (attributes::pairs(self.budget, &link.attributes, link.dropped_attributes))
                    @if !link.trace_state.is_empty() {
                        " " span.soft { "tracestate " } (self.budget.value(&link.trace_state))
                    }
                }
            }
        }
    }
}

fn fact(term: &str, description: &Markup) -> Markup {
    html! { div { dt { (term) } dd { (description) } } }
}

fn parent(span: &Span, placement: Placement) -> Markup {
    html! {
        @match (span.parent, placement) {
            (None, _) => "none",
            (Some(parent), Placement::Orphan) => { code { (parent) } " (not received)" },
            (Some(parent), Placement::Cycle) => {
                a href={ "#s" (parent) } { code { (parent) } } " (a descendant of this span)"
            },
            (Some(parent), _) => a href={ "#s" (parent) } { code { (parent) } },
        }
    }
}
