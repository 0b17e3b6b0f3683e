//! The layout that all pages share, and the error pages.

use axum::http::StatusCode;
use axum::response::{Html, IntoResponse, Response};
use maud::{DOCTYPE, Markup, html};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use super::text;
use crate::base_path::BasePath;
use crate::query::streaming;

/// Renders a document. `title` is the first part of its title, which distinguishes browser tabs.
pub(super) fn page(base: &BasePath, title: &str, main: &Markup) -> Html<String> {
    let document = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { (title) " · Traces" }
                link rel="stylesheet" href={ (base.as_str()) "/style.css" };
            }
            body {
                a.skip href="#main" { "Skip to the content" }
                header.bar {
                    nav.brand aria-label="Pages" {
                        @for (path, name) in [("/", "Traces"), ("/dependencies", "Dependencies"), ("/monitor", "Monitor")] {
                            a href={ (base.as_str()) (path) } { (name) } " "
                        }
                    }
                    form.open action={ (base.as_str()) "/trace" } role="search" {
                        label for="id" { "Trace id" }
                        input #id name="id" required autocomplete="off" spellcheck="false";
                        button.quiet { "Open" }
                    }
                }
                main #main tabindex="-1" { (main) }
            }
        }
    };
    Html(document.into_string())
}

/// Renders a link to the latest traces of a service.
pub(super) fn service_link(base: &BasePath, service: &str) -> Markup {
    let encoded = utf8_percent_encode(service, NON_ALPHANUMERIC);
    html! { a href={ (base.as_str()) "/?service=" (encoded) } { (text::name(service)) } }
}

pub(super) fn bad_request(base: &BasePath, message: &str) -> Response {
    failure(base, StatusCode::BAD_REQUEST, "Bad request", message)
}

pub(super) fn not_found(base: &BasePath, title: &str, message: &str) -> Response {
    failure(base, StatusCode::NOT_FOUND, title, message)
}

pub(super) fn internal_error(base: &BasePath) -> Response {
    failure(
        base,
        StatusCode::INTERNAL_SERVER_ERROR,
        "Internal error",
        "The page could not be rendered; the collector's log has the cause.",
    )
}

pub(super) fn busy(base: &BasePath) -> Response {
    failure(base, StatusCode::SERVICE_UNAVAILABLE, "Server busy", streaming::BUSY)
}

fn failure(base: &BasePath, status: StatusCode, title: &str, message: &str) -> Response {
    let main = html! {
        section.panel.narrow {
            h1 { (title) }
            p { (message) }
            p { a href={ (base.as_str()) "/" } { "Search traces" } }
        }
    };
    (status, page(base, title, &main)).into_response()
}
