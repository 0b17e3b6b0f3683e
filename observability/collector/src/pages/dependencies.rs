//! The page of the calls between services.

use axum::response::Html;
use maud::{Markup, html};

use super::bars::{self, Axis};
use super::layout;
use crate::base_path::BasePath;
use crate::format;
use crate::ingest::Ingest;

/// Maximum number of rows, because senders can invent any number of services.
const MAX_ROWS: usize = 500;

/// Renders the page.
pub(super) fn page(ingest: &Ingest, base: &BasePath) -> Html<String> {
    let mut calls: Vec<((String, String), u64)> =
        ingest.store.dependencies(&(0..=u64::MAX)).into_iter().collect();
    // The sort is stable: of two with the same count, the first by name.
    calls.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    let main = html! {
        h1.visually-hidden { "Dependencies" }
        section.panel {
            @if calls.is_empty() {
                h2 { "Calls between services" }
                p.empty { "No stored trace has a span with a parent." }
            } @else {
                (table(base, &calls))
            }
        }
    };
    layout::page(base, "Dependencies", &main)
}

fn table(base: &BasePath, calls: &[((String, String), u64)]) -> Markup {
    let most = calls.first().map_or(0, |(_, count)| *count);
    let more = calls.len().saturating_sub(MAX_ROWS);
    html! {
        table {
            caption { "Calls between services in the stored traces" }
            thead {
                tr {
                    th scope="col" { "Caller" }
                    th scope="col" { "Called" }
                    th.duration scope="col" { "Spans" }
                }
            }
            tbody {
                @for ((caller, called), count) in calls.iter().take(MAX_ROWS) {
                    tr {
                        th scope="row" { (layout::service_link(base, caller)) }
                        td { (layout::service_link(base, called)) }
                        td.duration {
                            div {
                                (bars::duration(Axis::new(0, most), *count, "fine"))
                                span.figure { (count) }
                            }
                        }
                    }
                }
            }
        }
        @if more > 0 {
            p.more {
                "And " strong { (format::count(more, "more pair")) } ": "
                a href={ (base.as_str()) "/api/dependencies" } { "all pairs as JSON" } "."
            }
        }
    }
}
