//! What all pages have around them.

use axum::http::StatusCode;
use axum::response::{Html, IntoResponse, Response};
use maud::{DOCTYPE, Markup, html};

use crate::base_path::BasePath;
use crate::query::streaming;

/// A whole document. Its title starts with what tells it from other tabs.
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
                    p.brand { a href={ (base.as_str()) "/" } { "Traces" } }
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

pub(super) fn bad_request(base: &BasePath, message: &str) -> Response {
    failure(base, StatusCode::BAD_REQUEST, "This request makes no sense", message)
}

pub(super) fn not_found(base: &BasePath, title: &str, message: &str) -> Response {
    failure(base, StatusCode::NOT_FOUND, title, message)
}

pub(super) fn broken(base: &BasePath) -> Response {
    failure(base, StatusCode::INTERNAL_SERVER_ERROR, "This page is broken", "The collector's log says why.")
}

pub(super) fn busy(base: &BasePath) -> Response {
    failure(base, StatusCode::SERVICE_UNAVAILABLE, "Too much at once", streaming::BUSY)
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
