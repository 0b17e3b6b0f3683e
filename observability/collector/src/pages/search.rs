//! The search page: the form, the traces found, and all services.

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use maud::{Markup, html};

use super::form::{FieldErrors, Form};
use super::results::{self, TraceRow};
use super::{fields, layout};
use crate::base_path::BasePath;
use crate::format;
use crate::ingest::Ingest;

/// Maximum number of services and of operations offered, because senders can invent any number of names.
const MAX_OPTIONS: usize = 500;
/// Maximum length of an offered name, in bytes.
const MAX_OPTION_BYTES: usize = 256;

/// Renders the page with the traces found, or with the errors of the form and status 400.
pub(super) fn page(ingest: &Ingest, base: &BasePath, form: &Form, now_ns: u64) -> Response {
    let (services, more_services) = services(ingest);
    let operations = operations(ingest, form.service.trim());
    let (status, errors, found) = match form.query(now_ns) {
        Ok(query) => (StatusCode::OK, FieldErrors::new(), {
            // Decodes one trace at a time.
            let traces: Vec<TraceRow> =
                ingest.store.search(&query).filter_map(|trace| TraceRow::of(&trace)).collect();
            found(base, form, &traces)
        }),
        Err(errors) => (StatusCode::BAD_REQUEST, errors, invalid_form()),
    };
    let main = html! {
        h1.visually-hidden { "Search traces" }
        .home {
            section.panel.filters aria-labelledby="filters" {
                h2 #filters { "Search" }
                (fields::form(base, form, &errors, &services, &operations))
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

fn found(base: &BasePath, form: &Form, traces: &[TraceRow]) -> Markup {
    let searched = *form != Form::default();
    let count = format::count(traces.len(), "trace");
    html! {
        section.panel {
            @if traces.is_empty() {
                h2 { "Traces" }
                @if searched {
                    p.empty { "No trace has a span that meets all of these conditions. "
                        a href={ (base.as_str()) "/" } { "Show the most recent traces" } }
                } @else {
                    p.empty { "No traces yet. Send spans over OTLP: gRPC to port 4317 or HTTP to port 4318 by default." }
                }
            } @else if searched {
                (results::traces(base, &format!("{count} found, latest first"), traces))
            } @else {
                (results::traces(base, &format!("The most recent {count}"), traces))
            }
        }
    }
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
