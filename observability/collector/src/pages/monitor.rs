//! The page of the rate, errors and durations of each operation in the last hour.

use axum::response::Html;
use maud::{Markup, html};
use serde::Deserialize;

use super::{layout, text};
use crate::base_path::BasePath;
use crate::format;
use crate::ingest::Ingest;
use crate::latency::{SLOT_MS, SlidingWindow, Slot};
use crate::trace::Kind;

/// Maximum number of operations shown.
const MAX_ROWS: usize = 500;

/// The kinds of spans that are calls to a service; the others are parts of a call.
const KINDS: [Kind; 2] = [Kind::Server, Kind::Consumer];

/// The parameters of the page.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Parameters {
    /// Shows only this service, unless empty.
    service: String,
}

struct Row {
    service: String,
    operation: String,
    kind: Kind,
    calls: u64,
    rate_per_s: f64,
    error_rate: f64,
    quantiles_ms: [f64; 3],
}

impl Row {
    /// Returns the operation's part of the load: the calls times their duration.
    fn impact(&self) -> f64 {
        self.calls as f64 * self.quantiles_ms[1]
    }
}

/// Renders the page.
pub(super) fn page(ingest: &Ingest, base: &BasePath, parameters: &Parameters) -> Html<String> {
    let service = parameters.service.trim();
    let mut rows: Vec<Row> = KINDS.into_iter().flat_map(|kind| rows(ingest, service, kind)).collect();
    rows.sort_by(|a, b| b.impact().total_cmp(&a.impact()));
    let main = html! {
        h1.visually-hidden { "Monitor" }
        section.panel {
            @if rows.is_empty() {
                h2 { "Operations" }
                p.empty {
                    "No server or consumer span "
                    @if !service.is_empty() { "of " (text::name(service)) " " }
                    "ended in the last hour."
                }
            } @else {
                (table(base, service, &rows))
            }
        }
    };
    layout::page(base, "Monitor", &main)
}

fn rows(ingest: &Ingest, only: &str, kind: Kind) -> Vec<Row> {
    let is_selected = |service: &str, other: Kind| other == kind && (only.is_empty() || service == only);
    let recent = ingest.latencies().recent_calls(&(0..u32::MAX), true, is_selected);
    let seconds = recent.kept.len() as f64 * f64::from(SLOT_MS) / 1e3;
    let row = |(service, operation, mut slots): (String, String, Vec<Slot>)| {
        slots.sort_unstable_by_key(Slot::index);
        let mut window = SlidingWindow::before(&slots);
        window.move_to(&recent.kept);
        let quantile = |quantile| window.quantile_ms(quantile).unwrap_or_default();
        let calls = window.calls().filter(|calls| *calls > 0)?;
        Some(Row {
            calls,
            rate_per_s: calls as f64 / seconds.max(1.0),
            error_rate: window.error_rate().unwrap_or_default(),
            quantiles_ms: [quantile(0.5), quantile(0.95), quantile(0.99)],
            service,
            operation,
            kind,
        })
    };
    recent.operations.into_iter().filter_map(row).collect()
}

fn table(base: &BasePath, service: &str, rows: &[Row]) -> Markup {
    let more = rows.len().saturating_sub(MAX_ROWS);
    html! {
        table {
            caption {
                "Operations "
                @if !service.is_empty() { "of " (text::name(service)) " " }
                "in the last hour, by the time that they took in total"
            }
            thead {
                tr {
                    th scope="col" { "Operation" }
                    th scope="col" { "Kind" }
                    @for name in ["Calls", "Calls/s", "Errors", "p50", "p95", "p99"] { th.number scope="col" { (name) } }
                }
            }
            tbody { @for row in rows.iter().take(MAX_ROWS) { (operation(base, row)) } }
        }
        @if more > 0 { p.more { "And " strong { (format::count(more, "more operation")) } "." } }
        @if !service.is_empty() { p.more { a href={ (base.as_str()) "/monitor" } { "All services" } } }
    }
}

fn operation(base: &BasePath, row: &Row) -> Markup {
    html! {
        tr {
            th scope="row" {
                span.service { (layout::service_link(base, &row.service)) } " "
                span.operation { (text::name(&row.operation)) }
            }
            td.soft { (row.kind.as_str()) }
            td.number { (row.calls) }
            td.number { (format!("{:.2}", row.rate_per_s)) }
            td.number {
                @if row.error_rate > 0.0 {
                    span.tag.bad { (format!("{:.1} %", row.error_rate * 100.0)) }
                } @else { "0 %" }
            }
            @for ms in row.quantiles_ms { td.number { (format::duration((ms * 1e6) as u64)) } }
        }
    }
}
