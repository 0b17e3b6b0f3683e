//! The tables of the first page.

use maud::{Markup, html};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use super::bars::{self, Axis};
use super::overview::Overview;
use super::{quantity, text};
use crate::collector::BasePath;
use crate::span::Trace;

/// Services named for one trace in a list.
const SERVICES_SHOWN: usize = 3;

pub(super) fn traces(base: &BasePath, caption: &str, traces: &[Trace]) -> Markup {
    let overviews: Vec<Overview<'_>> = traces.iter().filter_map(Overview::of).collect();
    let longest = overviews.iter().map(Overview::duration_ns).max().unwrap_or_default();
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
                @for overview in &overviews { (trace(base, overview, Axis::new(0, longest))) }
            }
        }
    }
}

fn trace(base: &BasePath, overview: &Overview<'_>, axis: Axis) -> Markup {
    let root = overview.root;
    let more = overview.services.len().saturating_sub(SERVICES_SHOWN);
    html! {
        tr {
            th scope="row" {
                a href={ (base.as_str()) "/trace/" (root.trace_id) } {
                    span.service { (text::name(root.service())) } " "
                    span.operation { (text::name(&root.name)) }
                }
            }
            td.start data-label="Start (UTC)" {
                time datetime=(quantity::instant(overview.start_ns)) { (quantity::short_instant(overview.start_ns)) }
            }
            td.duration {
                div {
                    (bars::amount(axis, overview.duration_ns(), if overview.errors > 0 { "failed" } else { "fine" }))
                    span.figure { (quantity::duration(overview.duration_ns())) }
                }
            }
            td.number data-label="Spans" { (overview.spans) }
            td.number data-label="Errors" {
                @if overview.errors > 0 { span.tag.bad { (overview.errors) } } @else { "0" }
            }
            td data-label="Services" {
                @for (index, (service, _)) in overview.services.iter().take(SERVICES_SHOWN).enumerate() {
                    @if index > 0 { ", " }
                    (text::name(service))
                }
                @if more > 0 { " and " (more) " more" }
            }
        }
    }
}

/// Every service with the number of its operations.
pub(super) fn services(base: &BasePath, services: &[(String, usize)]) -> Markup {
    html! {
        @if !services.is_empty() {
            section.panel {
                table.services {
                    caption { "Services seen since the start" }
                    thead {
                        tr {
                            th scope="col" { "Service" }
                            th.number scope="col" { "Operations" }
                        }
                    }
                    tbody {
                        @for (service, operations) in services {
                            tr {
                                th scope="row" { a href=(search_link(base, service)) { (text::name(service)) } }
                                td.number { (operations) }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn search_link(base: &BasePath, service: &str) -> String {
    format!("{}/?service={}", base.as_str(), utf8_percent_encode(service, NON_ALPHANUMERIC))
}
