//! A trace: what it is, where its time went, and its spans one below another.

use std::collections::HashMap;

use axum::response::Html;
use maud::{Markup, html};

use super::bars::{self, Axis};
use super::details::{self, Details, Times};
use super::origins::Origins;
use super::overview::Overview;
use super::room::Room;
use super::waterfall::{self, Place, Row};
use super::{frame, quantity, text};
use crate::base_path::BasePath;
use crate::blame::critical_path::{Segment, critical_path, self_time};
use crate::store::EvictionReason;
use crate::trace::{Trace, TraceId};

/// Spans shown. A page of more is slow to draw, and nobody reads it.
pub(super) const SPANS_SHOWN: usize = 1_000;

/// Bytes of the stretches of the critical path that are drawn: some twenty-five thousand.
const STRETCHES_BYTES: usize = 2 << 20;

/// Services named of a trace.
const SERVICES_SHOWN: usize = 30;

/// Deeper levels are not indented further, or nothing would be left of the names.
const DEEPEST_INDENT: usize = 16;

pub(super) fn evicted(id: TraceId, reason: EvictionReason) -> String {
    let why = match reason {
        EvictionReason::Old => "left to make room for later ones",
        EvictionReason::ErrorsFull => "left to make room: more traces failed than fit",
        EvictionReason::ExemplarsFull => "left to make room: others were slower, or are better examples",
        EvictionReason::SampleThinned => "left to make room: it was one of a sample that became too large",
        EvictionReason::TooLarge => "would have taken too large a part of the store by itself",
    };
    format!("The trace {id} was here, but {why}. A larger store keeps more.")
}

pub(super) fn unknown(id: TraceId) -> String {
    format!(
        "No span of the trace {id} has come. Its sender may not have sampled it, or not have sent it yet; and what \
         left a very long time ago is forgotten."
    )
}

pub(super) fn page(base: &BasePath, id: TraceId, trace: &Trace) -> Html<String> {
    let Some(shown) = Shown::of(base, id, trace) else {
        return frame::page(base, "Trace without spans", &html! { h1 { "This trace has no spans" } });
    };
    let root = shown.overview.root;
    let main = html! {
        (shown.head())
        (shown.services())
        (shown.spans())
        (shown.origins.sections())
    };
    let title: String = format!("{}: {}", root.service(), root.name).chars().take(80).collect();
    frame::page(base, &text::visible(&title), &main)
}

/// What the parts of the page share.
struct Shown<'a> {
    base: &'a BasePath,
    id: TraceId,
    trace: &'a Trace,
    overview: Overview<'a>,
    axis: Axis,
    rows: Vec<Row>,
    /// The critical path by span, each in the order of time.
    critical: HashMap<usize, Vec<Segment>>,
    self_ns: Vec<u64>,
    origins: Origins,
    details: Room,
    stretches: Room,
}

impl<'a> Shown<'a> {
    fn of(base: &'a BasePath, id: TraceId, trace: &'a Trace) -> Option<Self> {
        let overview = Overview::of(trace)?;
        let mut critical: HashMap<usize, Vec<Segment>> = HashMap::new();
        for segment in critical_path(trace) {
            critical.entry(segment.span).or_default().push(segment);
        }
        let axis = Axis::new(overview.start_ns, overview.duration_ns());
        let (rows, self_ns) = (waterfall::rows(trace), self_time(trace));
        let origins = Origins::of(rows.iter().take(SPANS_SHOWN).map(|row| &trace.spans[row.span]));
        let (details, stretches) = (Room::of(details::BYTES), Room::of(STRETCHES_BYTES));
        Some(Self { base, id, trace, overview, axis, rows, critical, self_ns, origins, details, stretches })
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
                h1 { span.service { (text::name(root.service())) } " " span.operation { (text::name(&root.name)) } }
                p.facts {
                    span { time datetime=(quantity::instant(start_ns)) { (quantity::short_instant(start_ns)) " UTC" } }
                    span { strong { (quantity::duration(self.overview.duration_ns())) } }
                    span { (quantity::count(spans, "span")) }
                    span { (quantity::count(services, "service")) }
                    @if errors > 0 { span.tag.bad { (quantity::count(errors, "error")) } }
                    span { code { (self.id) } }
                    a href=(self.json()) { "JSON" }
                }
            }
        }
    }

    fn services(&self) -> Markup {
        let mut critical = vec![0; self.overview.services.len()];
        for &span in self.critical.keys() {
            critical[self.overview.place(self.trace.spans[span].service())] += self.critical_ns(span);
        }
        let whole: u64 = critical.iter().sum();
        let more = critical.len().saturating_sub(SERVICES_SHOWN);
        html! {
            section.panel aria-labelledby="services" {
                h2 #services { "Where the time went" }
                p.hint { "Of the " (quantity::duration(whole)) " that the first span took, along the critical path" }
                (bars::shares(&critical))
                ul.legend {
                    @for (index, (service, spans)) in self.overview.services.iter().enumerate().take(SERVICES_SHOWN) {
                        li {
                            (bars::swatch(index)) (text::name(service)) " "
                            strong { (share(critical[index], whole)) }
                            span.soft { " " (quantity::duration(critical[index])) ", " (quantity::count(*spans, "span")) }
                        }
                    }
                    @if more > 0 { li { "and " (more) " more" } }
                }
            }
        }
    }

    fn spans(&self) -> Markup {
        let hidden = self.rows.get(SPANS_SHOWN..).unwrap_or_default();
        let errors = hidden.iter().filter(|row| self.trace.spans[row.span].is_error()).count();
        html! {
            section.panel aria-labelledby="spans" {
                h2 #spans { "Spans" }
                p.hint {
                    "Each opens to its details. The thin line below a bar is the " strong { "critical path" }
                    ": what the whole trace waited for then was this span alone."
                }
                .row.axis aria-hidden="true" {
                    span.name { "Service and operation" }
                    (bars::scale(self.axis))
                    span.took { "Duration" }
                }
                ol.waterfall {
                    @for row in self.rows.iter().take(SPANS_SHOWN) { (self.span(row)) }
                }
                @if !hidden.is_empty() {
                    p.more {
                        "And " strong { (quantity::count(hidden.len(), "more span")) } ", "
                        @if errors > 0 { (errors) " of them failed" } @else { "none of them failed" }
                        ": " a href=(self.json()) { "all spans as JSON" } "."
                    }
                }
            }
        }
    }

    fn span(&self, row: &Row) -> Markup {
        let span = &self.trace.spans[row.span];
        let colour = self.overview.place(span.service());
        let class =
            if span.is_error() { bars::colour(colour) + " failed-span" } else { bars::colour(colour) };
        let bar = Segment { span: row.span, start_ns: span.start_ns, end_ns: span.end_ns.max(span.start_ns) };
        let critical_ns = self.critical_ns(row.span);
        let times = Times {
            since_start_ns: span.start_ns - self.overview.start_ns,
            self_ns: self.self_ns[row.span],
            critical_ns,
        };
        let details = Details { base: self.base, origins: &self.origins, room: &self.details };
        html! {
            li id={ "s" (span.span_id) } {
                details {
                    summary.row {
                        span class={ "name d" (row.depth.min(DEEPEST_INDENT)) } {
                            span.visually-hidden { "Level " (row.depth + 1) ": " }
                            (bars::swatch(colour))
                            span.service { (text::name(span.service())) } " "
                            span.operation { (text::name(&span.name)) }
                            (marks(row, span.is_error()))
                        }
                        (bars::span(self.axis, bar, &class, self.critical(row.span), &self.stretches))
                        span.took {
                            (quantity::duration(span.duration_ns()))
                            @if critical_ns > 0 {
                                span.soft { " " (quantity::duration(critical_ns)) " critical" }
                            }
                        }
                    }
                    (details.of(span, row.place, times))
                }
            }
        }
    }
}

/// What is out of the ordinary, in words.
fn marks(row: &Row, failed: bool) -> Markup {
    html! {
        @if failed { " " span.tag.bad { "error" } }
        @if row.place == Place::Orphan { " " span.tag.wait { "parent missing" } }
        @if row.place == Place::Circle { " " span.tag.wait { "own ancestor" } }
        @if row.depth > DEEPEST_INDENT { " " span.tag { "level " (row.depth + 1) } }
    }
}

fn share(part_ns: u64, whole_ns: u64) -> String {
    format!("{:.0} %", part_ns as f64 / whole_ns.max(1) as f64 * 100.0)
}
