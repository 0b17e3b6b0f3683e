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
use crate::blame::attribution::{self, Share, ShareKind};
use crate::blame::critical_path::{Segment, critical_path, self_time};
use crate::blame::waterfall::{self, Gap, Placement, Row};
use crate::format;
use crate::store::{Eviction, EvictionReason};
use crate::trace::{Span, Trace, TraceId};

/// Maximum number of spans shown; browsers are slow with more.
pub(super) const MAX_SPANS: usize = 1_000;

/// Maximum size of the drawn segments of the critical path, in bytes of markup: about 25 000 segments.
const MAX_SEGMENT_BYTES: usize = 2 << 20;

/// Maximum number of services listed.
const MAX_SERVICES: usize = 30;

/// Maximum number of shares drawn in the bar; smaller ones would not be visible.
const MAX_DRAWN_SHARES: usize = 200;

/// Maximum indentation, in levels: deeper spans would leave no space for names.
const MAX_INDENT: usize = 16;

pub(super) fn evicted(id: TraceId, Eviction { reason, was_complete }: Eviction) -> String {
    let why = match reason {
        EvictionReason::Old => "evicted to free memory for later traces",
        EvictionReason::ErrorsFull => "evicted: traces with errors exceeded their share of the store",
        EvictionReason::ExemplarsFull => {
            "evicted: slowest traces and exemplars exceeded their share of the store"
        }
        EvictionReason::SampleThinned => "evicted: the uniform sample was thinned",
        EvictionReason::TooLarge => "evicted: it exceeded the maximum size of one trace",
    };
    let state = match was_complete {
        Some(true) => " No span of it was missing.",
        Some(false) => " Spans of it were missing.",
        None => "",
    };
    format!("Trace {id} was {why}.{state} A larger store keeps more traces (COLLECTOR_STORE_MAX_BYTES).")
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
    gaps: HashMap<usize, Gap>,
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
        let mut gaps = waterfall::gaps(trace);
        gaps.retain(|_, gap| axis.shows(gap.duration_ns()));
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
            gaps,
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
        let whole: u64 =
            self.critical.values().flatten().map(|segment| segment.end_ns - segment.start_ns).sum();
        let shares = attribution::shares(attribution::attribute(self.trace));
        let duration = |share: &Share| (share.share * whole as f64).round() as u64;
        let bar: Vec<(String, u64)> =
            shares.iter().map(|share| (self.colour_of(share), duration(share))).collect();
        let more = shares.len().saturating_sub(MAX_SERVICES);
        html! {
            section.panel aria-labelledby="services" {
                h2 #services { "Where the time went" }
                p.hint { "The " (format::duration(whole)) " of the root span, attributed along the critical path." }
                (bars::shares(&bar[..bar.len().min(MAX_DRAWN_SHARES)]))
                ul.legend {
                    @for share in shares.iter().take(MAX_SERVICES) {
                        li {
                            (bars::swatch(&self.colour_of(share))) (text::name(&share.hop)) " "
                            span.soft { (kind(share.kind)) } " " strong { (percent(share.share)) }
                            span.soft { " " (format::duration(duration(share))) }
                        }
                    }
                    @if more > 0 { li { "and " (more) " more" } }
                }
                (self.not_awaited())
            }
        }
    }

    fn colour_of(&self, share: &Share) -> String {
        let is_service = matches!(share.kind, ShareKind::Work | ShareKind::Wait);
        bars::colour(self.overview.service_index(&share.hop).filter(|_| is_service))
    }

    /// Renders the services none of whose spans are on the critical path, with their own time.
    fn not_awaited(&self) -> Markup {
        let mut self_ns = vec![0; self.overview.services.len()];
        let mut is_awaited = vec![false; self.overview.services.len()];
        for (index, span) in self.trace.spans.iter().enumerate() {
            if let Some(service) = self.overview.service_index(span.service()) {
                self_ns[service] += self.self_ns[index];
                is_awaited[service] |= self.critical_ns(index) > 0;
            }
        }
        let apart: Vec<usize> = (0..is_awaited.len()).filter(|&service| !is_awaited[service]).collect();
        let more = apart.len().saturating_sub(MAX_SERVICES);
        html! {
            @if !apart.is_empty() {
                p.hint { "Not part of it, because the root span did not wait for them:" }
                ul.legend {
                    @for &service in apart.iter().take(MAX_SERVICES) {
                        @let (name, spans) = self.overview.services[service];
                        li {
                            (bars::swatch(&bars::colour(Some(service)))) (text::name(name)) " "
                            strong { (format::duration(self_ns[service])) }
                            span.soft { " in " (format::count(spans, "span")) }
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
        let bar = (span.start_ns > 0).then(|| Segment {
            span: row.span,
            start_ns: span.start_ns,
            end_ns: span.start_ns + span.duration_ns(),
        });
        let gap = self.gaps.get(&row.span);
        let critical_ns = self.critical_ns(row.span);
        let times =
            Times { trace_start_ns: self.overview.start_ns, self_ns: self.self_ns[row.span], critical_ns };
        let details =
            Details { base: self.base, resource_scopes: &self.resource_scopes, budget: &self.details_budget };
        html! {
            li id={ "s" (span.span_id) } {
                details {
                    summary.row {
                        span class={ "name d" (row.depth.min(MAX_INDENT)) } {
                            span.visually-hidden { "Level " (row.depth + 1) ": " }
                            (bars::swatch(&bars::colour(colour)))
                            span.service { (text::name(span.service())) } " "
                            span.operation { (text::name(span.operation())) }
                            (badges(row, span))
                            @if let Some(gap) = gap {
                                " " span.tag.wait { (gap.cause.as_str()) ": " (format::duration(gap.duration_ns())) }
                            }
                        }
                        (bars::span(self.axis, bar, gap, &class, self.critical(row.span), &self.segments_budget))
                        span.took {
                            @if bar.is_some() { (format::duration(span.duration_ns())) } @else { "–" }
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

/// Renders badges for errors, unusual placements and missing times.
fn badges(row: &Row, span: &Span) -> Markup {
    html! {
        @if span.is_error() { " " span.tag.bad { "error" } }
        @if row.placement == Placement::Orphan { " " span.tag.wait { "parent missing" } }
        @if row.placement == Placement::Cycle { " " span.tag.wait { "parent cycle" } }
        @if span.start_ns == 0 { " " span.tag.wait { "no start time" } }
        @if row.depth > MAX_INDENT { " " span.tag { "level " (row.depth + 1) } }
    }
}

fn kind(kind: ShareKind) -> &'static str {
    match kind {
        ShareKind::Work => "work",
        ShareKind::Wait => "wait",
        ShareKind::Transit => "transit",
        ShareKind::Unattributed => "unattributed",
    }
}

fn percent(share: f64) -> String {
    format!("{:.0} %", share * 100.0)
}
