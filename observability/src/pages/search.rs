//! The first page: what to look for, what was found, who sends spans.

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use maud::{Markup, html};

use super::form::{Form, Mistakes};
use super::{fields, frame, quantity, results};
use crate::collector::BasePath;
use crate::ingest::Ingest;
use crate::span::Trace;

/// The page with what the form finds, or with what is wrong with it and status 400.
pub(super) fn page(ingest: &Ingest, base: &BasePath, form: &Form, now_ns: u64) -> Response {
    let services = services(ingest);
    let operations = operations(ingest, form.service.trim());
    let (status, mistakes, found) = match form.query(now_ns) {
        Ok(query) => (StatusCode::OK, Mistakes::new(), {
            let traces: Vec<Trace> = ingest.store.search(&query).map(bare).collect();
            found(base, form, &traces)
        }),
        Err(mistakes) => (StatusCode::BAD_REQUEST, mistakes, refused()),
    };
    let main = html! {
        h1.visually-hidden { "Search traces" }
        .home {
            section.panel.filters aria-labelledby="filters" {
                h2 #filters { "Search" }
                (fields::form(base, form, &mistakes, &services, &operations))
            }
            .found {
                (found)
                (results::services(base, &services))
            }
        }
    };
    let title = if mistakes.is_empty() { "Search" } else { "Search: please correct" };
    (status, frame::page(base, title, &main)).into_response()
}

/// Without what a list does not show: all of them are held at once.
fn bare(mut trace: Trace) -> Trace {
    for span in &mut trace.spans {
        (span.attributes, span.events, span.links) = (Vec::new(), Vec::new(), Vec::new());
    }
    trace
}

fn found(base: &BasePath, form: &Form, traces: &[Trace]) -> Markup {
    let searched = *form != Form::default();
    let count = quantity::count(traces.len(), "trace");
    html! {
        section.panel {
            @if traces.is_empty() {
                h2 { "Traces" }
                @if searched {
                    p.empty { "No trace has a span that meets all of these conditions. "
                        a href={ (base.as_str()) "/" } { "Show the most recent traces" } }
                } @else {
                    p.empty { "No traces yet. Senders reach the collector by OTLP: gRPC usually at port 4317, HTTP at 4318." }
                }
            } @else if searched {
                (results::traces(base, &format!("{count} found, the latest first"), traces))
            } @else {
                (results::traces(base, &format!("The most recent {count}"), traces))
            }
        }
    }
}

fn refused() -> Markup {
    html! {
        section.panel role="alert" {
            h2 { "Traces" }
            p.problem { "Nothing was searched: a field makes no sense. The message stands beside it." }
        }
    }
}

/// Every service, with the number of its operations.
fn services(ingest: &Ingest) -> Vec<(String, usize)> {
    let services = ingest.services();
    let latencies = ingest.latencies();
    let operations = |service: &str| distinct(latencies.operations(service)).len();
    let counted = |service: String| {
        let count = operations(&service);
        (service, count)
    };
    services.into_iter().map(counted).collect()
}

fn operations(ingest: &Ingest, service: &str) -> Vec<String> {
    distinct(ingest.latencies().operations(service))
}

/// One operation can be of several kinds. `operations` come sorted.
fn distinct<K>(operations: Vec<(String, K)>) -> Vec<String> {
    let mut names: Vec<String> = operations.into_iter().map(|(name, _)| name).collect();
    names.dedup();
    names
}
