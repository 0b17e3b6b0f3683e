//! The tables of the search page: traces and services.

use maud::{Markup, html};

use super::bars::{self, Axis};
use super::overview::Overview;
use super::{layout, text};
use crate::base_path::BasePath;
use crate::format;
use crate::trace::{Trace, TraceId};

/// Maximum number of services named for one trace.
const MAX_SERVICES: usize = 3;

/// A trace in the list: a summary of bounded size, with long names truncated.
#[derive(Debug)]
pub(super) struct TraceRow {
    id: TraceId,
    service: Markup,
    operation: Markup,
    start_ns: u64,
    duration_ns: u64,
    spans: usize,
    errors: usize,
    /// Names of the first services.
    services: Vec<Markup>,
    more_services: usize,
}

impl TraceRow {
    /// Summarizes a trace; `None` without spans.
    pub(super) fn of(trace: &Trace) -> Option<Self> {
        let overview = Overview::of(trace)?;
        let root = overview.root;
        let services = overview.services.iter().take(MAX_SERVICES);
        Some(Self {
            id: root.trace_id,
            service: text::name(root.service()),
            operation: text::name(root.operation()),
            start_ns: overview.start_ns,
            duration_ns: overview.duration_ns(),
            spans: overview.spans,
            errors: overview.errors,
            services: services.map(|(service, _)| text::name(service)).collect(),
            more_services: overview.services.len().saturating_sub(MAX_SERVICES),
        })
    }
}

pub(super) fn traces(base: &BasePath, caption: &str, traces: &[TraceRow]) -> Markup {
    let longest = traces.iter().map(|row| row.duration_ns).max().unwrap_or_default();
    html! {
        table.traces {
            caption { (caption) }
            thead {
                tr {
                    th scope="col" { "Trace" }
                    th.start scope="col" { "Start (UTC)" }
                    th.duration scope="col" { "Duration" }
                    th.number scope="col" { "Spans" }
                    th.number scope="col" { "Errors" }
                    th scope="col" { "Services" }
                }
            }
            tbody {
                @for row in traces { (trace(base, row, Axis::new(0, longest))) }
            }
        }
    }
}

fn trace(base: &BasePath, row: &TraceRow, axis: Axis) -> Markup {
    html! {
        tr {
            th scope="row" {
                a href={ (base.as_str()) "/trace/" (row.id) } {
                    span.service { (row.service) } " "
                    span.operation { (row.operation) }
                }
            }
            td.start data-label="Start (UTC)" {
                time datetime=(format::instant(row.start_ns)) { (format::short_instant(row.start_ns)) }
            }
            td.duration {
                div {
                    (bars::duration(axis, row.duration_ns, if row.errors > 0 { "failed" } else { "fine" }))
                    span.figure { (format::duration(row.duration_ns)) }
                }
            }
            td.number data-label="Spans" { (row.spans) }
            td.number data-label="Errors" {
                @if row.errors > 0 { span.tag.bad { (row.errors) } } @else { "0" }
            }
            td data-label="Services" {
                @for (index, service) in row.services.iter().enumerate() {
                    @if index > 0 { ", " }
                    (service)
                }
                @if row.more_services > 0 { " and " (row.more_services) " more" }
            }
        }
    }
}

/// Renders services, each with its number of operations, and the number of services that are not listed.
pub(super) fn services(base: &BasePath, services: &[(String, usize)], more: usize) -> Markup {
    html! {
        @if !services.is_empty() || more > 0 {
            section.panel {
                table.services {
                    caption { "Services since the collector started" }
                    thead {
                        tr {
                            th scope="col" { "Service" }
                            th.number scope="col" { "Operations" }
                        }
                    }
                    tbody {
                        @for (service, operations) in services {
                            tr {
                                th scope="row" { (layout::service_link(base, service)) }
                                td.number { (operations) }
                            }
                        }
                    }
                }
                @if more > 0 {
                    p.more {
                        "And " strong { (format::count(more, "more service")) } ": "
                        a href={ (base.as_str()) "/api/services" } { "all services as JSON" } "."
                    }
                }
            }
        }
    }
}
