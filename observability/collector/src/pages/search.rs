//! The first page: what to look for, what was found, who sends spans.

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use maud::{Markup, html};

use super::form::{Form, Mistakes};
use super::results::{self, Row};
use super::{fields, frame, quantity};
use crate::base_path::BasePath;
use crate::ingest::Ingest;

/// Services and operations offered, and the longest name of one: a sender can make up any number, of any length.
const NAMES_OFFERED: usize = 500;
const LONGEST_OFFERED: usize = 256;

/// The page with what the form finds, or with what is wrong with it and status 400.
pub(super) fn page(ingest: &Ingest, base: &BasePath, form: &Form, now_ns: u64) -> Response {
    let (services, more_services) = services(ingest);
    let operations = operations(ingest, form.service.trim());
    let (status, mistakes, found) = match form.query(now_ns) {
        Ok(query) => (StatusCode::OK, Mistakes::new(), {
            // One trace at a time is decoded.
            let traces: Vec<Row> = ingest.store.search(&query).filter_map(|trace| Row::of(&trace)).collect();
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
                (results::services(base, &services, more_services))
            }
        }
    };
    let title = if mistakes.is_empty() { "Search" } else { "Search: please correct" };
    (status, frame::page(base, title, &main)).into_response()
}

fn found(base: &BasePath, form: &Form, traces: &[Row]) -> Markup {
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

/// Services, each with the number of its operations, and how many others there are.
fn services(ingest: &Ingest) -> (Vec<(String, usize)>, usize) {
    let mut services = ingest.services();
    let all = services.len();
    services.retain(is_offered);
    services.truncate(NAMES_OFFERED);
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
    operations.truncate(NAMES_OFFERED);
    operations
}

#[allow(clippy::ptr_arg, reason = "what `retain` hands over")]
fn is_offered(name: &String) -> bool {
    name.len() <= LONGEST_OFFERED
}

/// The names of a service's operations: one can be of several kinds.
fn names(ingest: &Ingest, service: &str) -> Vec<String> {
    let operations = ingest.operations(service).into_iter();
    let mut names: Vec<String> = operations.map(|(name, _)| name).collect();
    names.dedup();
    names
}
