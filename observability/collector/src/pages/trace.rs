//! The page of a trace: its summary, where its time went, and the waterfall of its spans.

use std::collections::HashMap;

use axum::response::Html;
use maud::{Markup, html};

use super::bars::{self, Axis};
use super::budget::MarkupBudget;
use super::details::{self, Details, Times};
use super::overview::Overview;
use super::resource_scopes::ResourceScopeSections;
use super::{layout, text};
use crate::base_path::BasePath;
use crate::blame::critical_path::{Segment, critical_path, self_time};
use crate::blame::waterfall::{self, Placement, Row};
use crate::format;
use crate::store::EvictionReason;
use crate::trace::{Trace, TraceId};

/// Maximum number of spans shown; browsers are slow with more.
pub(super) const MAX_SPANS: usize = 1_000;

/// Maximum size of the drawn segments of the critical path, in bytes of markup: about 25 000 segments.
const MAX_SEGMENT_BYTES: usize = 2 << 20;

/// Maximum number of services listed.
const MAX_SERVICES: usize = 30;

/// Maximum indentation, in levels: deeper spans would leave no space for names.
const MAX_INDENT: usize = 16;

pub(super) fn evicted(id: TraceId, reason: EvictionReason) -> String {
    let why = match reason {
        EvictionReason::Old => "evicted to free memory for later traces",
        EvictionReason::ErrorsFull => "evicted: traces with errors exceeded their share of the store",
        EvictionReason::ExemplarsFull => {
            "evicted: slowest traces and exemplars exceeded their share of the store"
        }
        EvictionReason::SampleThinned => "evicted: the uniform sample was thinned",
        EvictionReason::TooLarge => "evicted: it exceeded the maximum size of one trace",
    };
    format!("Trace {id} was {why}. A larger store keeps more traces (COLLECTOR_STORE_MAX_BYTES).")
}

pub(super) fn unknown(id: TraceId) -> String {
    format!(
        "No span of trace {id} has been received, or its eviction is no longer recorded. The sender may not have sampled \
         it, or not have sent it yet."
    )
}

pub(super) fn page(base: &BasePath, id: TraceId, trace: &Trace) -> Html<String> {
    let Some(page) = TracePage::new(base, id, trace) else {
        return layout::page(base, "Trace without spans", &html! { h1 { "This trace has no spans" } });
    };
    let root = page.overview.root;
    let main = html! {
        (page.head())
        (page.services())
        (page.spans())
        (page.resource_scopes.sections())
    };
    let title: String = format!("{}: {}", root.service(), root.operation()).chars().take(80).collect();
    layout::page(base, &text::visible(&title), &main)
}

/// The data that the parts of the page share.
struct TracePage<'a> {
    base: &'a BasePath,
    id: TraceId,
    trace: &'a Trace,
    overview: Overview<'a>,
    axis: Axis,
    rows: Vec<Row>,
    /// The critical path by span, each part in time order.
    critical: HashMap<usize, Vec<Segment>>,
    self_ns: Vec<u64>,
    resource_scopes: ResourceScopeSections,
    details_budget: MarkupBudget,
    segments_budget: MarkupBudget,
}

impl<'a> TracePage<'a> {
    fn new(base: &'a BasePath, id: TraceId, trace: &'a Trace) -> Option<Self> {
        let overview = Overview::of(trace)?;
        let mut critical: HashMap<usize, Vec<Segment>> = HashMap::new();
        for segment in critical_path(trace) {
            critical.entry(segment.span).or_default().push(segment);
        }
        let axis = Axis::new(overview.start_ns, overview.duration_ns());
        let (rows, self_ns) = (waterfall::rows(trace), self_time(trace));
        let resource_scopes =
            ResourceScopeSections::of(rows.iter().take(MAX_SPANS).map(|row| &trace.spans[row.span]));
        let details_budget = MarkupBudget::new(details::MAX_BYTES);
        let segments_budget = MarkupBudget::new(MAX_SEGMENT_BYTES);
        Some(Self {
            base,
            id,
            trace,
            overview,
            axis,
            rows,
            critical,
            self_ns,
            resource_scopes,
            details_budget,
            segments_budget,
        })
    }

    fn json(&self) -> String {
        format!("{}/api/traces/{}", self.base.as_str(), self.id)
    }

    fn critical(&self, span: usize) -> &[Segment] {
        self.critical.get(&span).map_or(&[], Vec::as_slice)
    }

    fn critical_ns(&self, span: usize) -> u64 {
        self.critical(span).iter().map(|segment| segment.end_ns - segment.start_ns).sum()
    }

    fn head(&self) -> Markup {
        let Overview { root, start_ns, spans, errors, .. } = self.overview;
        let services = self.overview.services.len();
        html! {
            .title {
                h1 { span.service { (text::name(root.service())) } " " span.operation { (text::name(root.operation())) } }
                p.facts {
                    span { time datetime=(format::instant(start_ns)) { (format::short_instant(start_ns)) " UTC" } }
                    span { strong { (format::duration(self.overview.duration_ns())) } }
                    span { (format::count(spans, "span")) }
                    span { (format::count(services, "service")) }
                    @if errors > 0 { span.tag.bad { (format::count(errors, "error")) } }
                    span { code { (self.id) } }
                    a href=(self.json()) { "JSON" }
                }
            }
        }
    }

    fn services(&self) -> Markup {
        let mut critical = vec![0; self.overview.services.len()];
        for &span in self.critical.keys() {
            critical[self.overview.service_index(self.trace.spans[span].service())] += self.critical_ns(span);
        }
        let whole: u64 = critical.iter().sum();
        let more = critical.len().saturating_sub(MAX_SERVICES);
        html! {
            section.panel aria-labelledby="services" {
                h2 #services { "Where the time went" }
                p.hint { "The " (format::duration(whole)) " of the root span, attributed along the critical path." }
                (bars::shares(&critical))
                ul.legend {
                    @for (index, (service, spans)) in self.overview.services.iter().enumerate().take(MAX_SERVICES) {
                        li {
                            (bars::swatch(index)) (text::name(service)) " "
                            strong { (share(critical[index], whole)) }
                            span.soft { " " (format::duration(critical[index])) ", " (format::count(*spans, "span")) }
                        }
                    }
                    @if more > 0 { li { "and " (more) " more" } }
                }
            }
        }
    }

    fn spans(&self) -> Markup {
        let hidden = self.rows.get(MAX_SPANS..).unwrap_or_default();
        let errors = hidden.iter().filter(|row| self.trace.spans[row.span].is_error()).count();
        html! {
            section.panel aria-labelledby="spans" {
                h2 #spans { "Spans" }
                p.hint {
                    "Select a span to show its details. The thin line below a bar is the " strong { "critical path" }
                    ": at that time, only this span contributed to the duration of the trace."
                }
                .row.axis aria-hidden="true" {
                    span.name { "Service and operation" }
                    (bars::scale(self.axis))
                    span.took { "Duration" }
                }
                ol.waterfall {
                    @for row in self.rows.iter().take(MAX_SPANS) { (self.span(row)) }
                }
                @if !hidden.is_empty() {
                    p.more {
                        "And " strong { (format::count(hidden.len(), "more span")) } ", "
                        @if errors > 0 { (errors) " of them with errors" } @else { "none with errors" }
                        ": " a href=(self.json()) { "all spans as JSON" } "."
                    }
                }
            }
        }
    }

    fn span(&self, row: &Row) -> Markup {
        let span = &self.trace.spans[row.span];
        let colour = self.overview.service_index(span.service());
        let class =
            if span.is_error() { bars::colour(colour) + " failed-span" } else { bars::colour(colour) };
        let bar = Segment { span: row.span, start_ns: span.start_ns, end_ns: span.end_ns.max(span.start_ns) };
        let critical_ns = self.critical_ns(row.span);
        let times = Times {
            since_start_ns: span.start_ns - self.overview.start_ns,
            self_ns: self.self_ns[row.span],
            critical_ns,
        };
        let details =
            Details { base: self.base, resource_scopes: &self.resource_scopes, budget: &self.details_budget };
        html! {
            li id={ "s" (span.span_id) } {
                details {
                    summary.row {
                        span class={ "name d" (row.depth.min(MAX_INDENT)) } {
                            span.visually-hidden { "Level " (row.depth + 1) ": " }
                            (bars::swatch(colour))
                            span.service { (text::name(span.service())) } " "
                            span.operation { (text::name(span.operation())) }
                            (badges(row, span.is_error()))
                        }
                        (bars::span(self.axis, bar, &class, self.critical(row.span), &self.segments_budget))
                        span.took {
                            (format::duration(span.duration_ns()))
                            @if critical_ns > 0 {
                                span.soft { " " (format::duration(critical_ns)) " critical" }
                            }
                        }
                    }
                    (details.render(span, row.placement, times))
                }
            }
        }
    }
}

/// Renders badges for errors and unusual placements.
fn badges(row: &Row, failed: bool) -> Markup {
    html! {
        @if failed { " " span.tag.bad { "error" } }
        @if row.placement == Placement::Orphan { " " span.tag.wait { "parent missing" } }
        @if row.placement == Placement::Cycle { " " span.tag.wait { "parent cycle" } }
        @if row.depth > MAX_INDENT { " " span.tag { "level " (row.depth + 1) } }
    }
}

fn share(part_ns: u64, whole_ns: u64) -> String {
    format!("{:.0} %", part_ns as f64 / whole_ns.max(1) as f64 * 100.0)
}
