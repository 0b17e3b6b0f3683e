//! The search page: the form, the traces found, and all services.

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use maud::{Markup, html};

use super::form::{FieldErrors, Form};
use super::results::{self, TraceRow};
use super::{fields, layout, tags};
use crate::base_path::BasePath;
use crate::format;
use crate::ingest::Ingest;
use crate::store::{Lookup, ResultPage, SortOrder};
use crate::trace::TraceId;

/// Maximum number of services and of operations offered, because senders can invent any number of names.
const MAX_OPTIONS: usize = 500;
/// Maximum length of an offered name, in bytes.
const MAX_OPTION_BYTES: usize = 256;

/// Renders the page with the traces found, or with the errors of the form and status 400.
pub(super) fn page(ingest: &Ingest, base: &BasePath, form: &Form, now_ns: u64) -> Response {
    let (services, more_services) = services(ingest);
    let operations = operations(ingest, form.service.trim());
    let (status, errors, found) = match form.search(now_ns) {
        Ok(search) => {
            let page = ingest.store.result_page(&search.query, search.order, search.after);
            (StatusCode::OK, FieldErrors::new(), found(base, form, search.order, &page, &rows(ingest, &page)))
        }
        Err(errors) => (StatusCode::BAD_REQUEST, errors, invalid_form()),
    };
    let example = ingest.store.latest().and_then(|id| match ingest.store.get(id) {
        Lookup::Stored(trace) => tags::example(&trace),
        Lookup::Evicted(_) | Lookup::Unknown => None,
    });
    let main = html! {
        h1.visually-hidden { "Search traces" }
        .home {
            section.panel.filters aria-labelledby="filters" {
                h2 #filters { "Search" }
                (fields::form(base, form, &errors, &services, &operations, example.as_deref()))
            }
            .found {
                (found)
                (results::services(base, &services, more_services))
            }
        }
    };
    let title = if errors.is_empty() { "Search" } else { "Search: invalid fields" };
    (status, layout::page(base, title, &main)).into_response()
}

/// Decodes one trace at a time. Traces evicted since the search are left out.
fn rows(ingest: &Ingest, page: &ResultPage) -> Vec<TraceRow> {
    let row = |id: &TraceId| match ingest.store.get(*id) {
        Lookup::Stored(mut trace) => {
            trace.clear_impossible_times();
            TraceRow::of(&trace)
        }
        Lookup::Evicted(_) | Lookup::Unknown => None,
    };
    page.traces.iter().filter_map(row).collect()
}

fn found(base: &BasePath, form: &Form, order: SortOrder, page: &ResultPage, traces: &[TraceRow]) -> Markup {
    html! {
        section.panel {
            @if !traces.is_empty() {
                (results::traces(base, &caption(form, order, page), traces))
            } @else {
                h2 { "Traces" }
                @if form.is_restricted() && page.total == 0 {
                    p.empty { "No trace has a span that meets all of these conditions. "
                        a href={ (base.as_str()) "/" } { "Show the most recent traces" } }
                } @else if form.after.is_empty() {
                    p.empty { "No traces yet. Send spans over OTLP: gRPC to port 4317 or HTTP to port 4318 by default." }
                } @else {
                    p.empty { "No further traces: those of this page have been evicted." }
                }
            }
            @if page.next.is_some() || !form.after.is_empty() {
                nav.pages aria-label="Pages of traces" {
                    @if !form.after.is_empty() {
                        a href={ (base.as_str()) "/?" (form.link(None)) } { "First page" }
                    }
                    @if let Some(next) = page.next {
                        a href={ (base.as_str()) "/?" (form.link(Some(next))) } rel="next" { "Next page" }
                    }
                }
            }
        }
    }
}

/// Returns which of the matches a page shows, and how many there are.
fn caption(form: &Form, order: SortOrder, page: &ResultPage) -> String {
    let shown = page.traces.len() as u64;
    let all = if page.is_counted { page.total.to_string() } else { format!("more than {}", page.total) };
    if page.is_counted && page.total == shown {
        let count = format::count(page.traces.len(), "trace");
        return match order {
            SortOrder::Longest => format!("{count} found, longest first"),
            SortOrder::Latest if form.is_restricted() => format!("{count} found, latest first"),
            SortOrder::Latest => format!("The most recent {count}"),
        };
    }
    if order == SortOrder::Longest && !page.is_counted {
        return format!("{shown} of the latest {} matching traces, longest first", page.total);
    }
    let which = match page.before {
        0 => shown.to_string(),
        before if page.is_counted => format!("{}–{}", before + 1, before + shown),
        _ => shown.to_string(),
    };
    let order = if order == SortOrder::Longest { "longest" } else { "latest" };
    format!("{which} of {all} traces, {order} first")
}

fn invalid_form() -> Markup {
    html! {
        section.panel role="alert" {
            h2 { "Traces" }
            p.problem { "Fix the highlighted fields and search again." }
        }
    }
}

/// Returns services, each with its number of operations, and the number of services left out.
fn services(ingest: &Ingest) -> (Vec<(String, usize)>, usize) {
    let mut services = ingest.services();
    let all = services.len();
    services.retain(is_offered);
    services.truncate(MAX_OPTIONS);
    let more = all - services.len();
    let counted = |service: String| {
        let count = names(ingest, &service).len();
        (service, count)
    };
    (services.into_iter().map(counted).collect(), more)
}

fn operations(ingest: &Ingest, service: &str) -> Vec<String> {
    let mut operations = names(ingest, service);
    operations.retain(is_offered);
    operations.truncate(MAX_OPTIONS);
    operations
}

#[allow(clippy::ptr_arg, reason = "the signature that `Vec::retain` requires")]
fn is_offered(name: &String) -> bool {
    name.len() <= MAX_OPTION_BYTES
}

/// Returns the distinct names of a service's operations; one name can have several span kinds.
fn names(ingest: &Ingest, service: &str) -> Vec<String> {
    let operations = ingest.operations(service).into_iter();
    let mut names: Vec<String> = operations.map(|(name, _)| name).collect();
    names.dedup();
    names
}
