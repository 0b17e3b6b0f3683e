//! Server-rendered pages that show traces, without scripts or external resources.
//!
//! Text from senders is escaped, and the content security policy of each page forbids scripts.

mod text;
mod budget;
mod attributes;
mod bars;
mod overview;
mod layout;
mod tags;
mod form;
mod fields;
mod results;
mod search;
mod search_api;
mod jaeger_links;
mod dependencies;
mod monitor;
mod resource_scopes;
mod details;
mod trace;
pub(crate) mod jaeger_ui;

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::{HeaderName, HeaderValue, header};
use axum::middleware;
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::get;
use serde::Deserialize;
use tokio::sync::Semaphore;

use crate::base_path::BasePath;
use crate::ingest::Ingest;
use crate::query::streaming::{self, QueryError};
use crate::store::Lookup;
use crate::trace::{ParseIdError, TraceId};

use form::Form;

const STYLE: &str = include_str!("pages/style.css");

/// Limits the number of pages rendered at once.
static PAGE_PERMITS: Semaphore = Semaphore::const_new(2);

/// Returns the routes of the pages. All links start with `base`.
pub(crate) fn router(ingest: Arc<Ingest>, base: &BasePath) -> Router {
    Router::new()
        .route("/", get(search))
        .route("/search", get(jaeger_search))
        .route("/dependencies", get(dependencies))
        .route("/monitor", get(monitor))
        .route("/trace", get(open))
        .route("/trace/{id}", get(trace))
        .route("/style.css", get(|| async { ([(header::CONTENT_TYPE, "text/css; charset=utf-8")], STYLE) }))
        .fallback(not_found)
        .layer(middleware::map_response(add_security_headers))
        .with_state(Site { ingest, base: base.clone() })
}

/// Returns the route of the search as JSON, which exists with any pages.
pub(crate) fn api_router(ingest: Arc<Ingest>) -> Router {
    let site = Site { ingest, base: BasePath::default() };
    Router::new().route("/api/workbench/search", get(search_api)).with_state(site)
}

#[derive(Debug, Clone)]
struct Site {
    ingest: Arc<Ingest>,
    base: BasePath,
}

#[derive(Debug, Deserialize)]
struct Open {
    #[serde(default)]
    id: String,
}

async fn search(State(site): State<Site>, form: Result<Query<Form>, QueryRejection>) -> Response {
    let Ok(Query(form)) = form else {
        return layout::bad_request(&site.base, "A field appears twice or is not UTF-8.");
    };
    off_runtime(site, move |site| search::page(&site.ingest, &site.base, &form, now_ns())).await
}

async fn search_api(State(site): State<Site>, form: Result<Query<Form>, QueryRejection>) -> Response {
    let Ok(Query(form)) = form else {
        return search_api::bad_request("a field appears twice or is not UTF-8");
    };
    off_runtime(site, move |site| search_api::reply(&site.ingest, &form, now_ns())).await
}

/// Redirects a link to the search page of Jaeger's UI.
async fn jaeger_search(
    State(site): State<Site>,
    parameters: Result<Query<Vec<(String, String)>>, QueryRejection>,
) -> Response {
    let Ok(Query(parameters)) = parameters else {
        return layout::bad_request(&site.base, "The query string is not UTF-8.");
    };
    let path = jaeger_links::search(&parameters);
    Redirect::to(&format!("{}{path}", site.base.as_str())).into_response()
}

async fn dependencies(State(site): State<Site>) -> Response {
    off_runtime(site, |site| dependencies::page(&site.ingest, &site.base).into_response()).await
}

async fn monitor(
    State(site): State<Site>,
    parameters: Result<Query<monitor::Parameters>, QueryRejection>,
) -> Response {
    let Ok(Query(parameters)) = parameters else {
        return layout::bad_request(&site.base, "A field appears twice or is not UTF-8.");
    };
    off_runtime(site, move |site| monitor::page(&site.ingest, &site.base, &parameters).into_response()).await
}

fn now_ns() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_nanos() as u64)
}

/// Redirects the trace id field of the header to the trace's page.
async fn open(State(site): State<Site>, query: Result<Query<Open>, QueryRejection>) -> Response {
    let typed = query.map(|Query(open)| open.id).unwrap_or_default();
    match typed_id(typed.trim()) {
        Ok(id) => Redirect::to(&format!("{}/trace/{id}", site.base.as_str())).into_response(),
        Err(error) => layout::bad_request(&site.base, &format!("{typed:?} is not a trace id: {error}.")),
    }
}

/// Parses a trace id, or a `traceparent` header that contains one.
fn typed_id(typed: &str) -> Result<TraceId, ParseIdError> {
    match typed.split('-').collect::<Vec<_>>()[..] {
        [_version, id, _parent, _flags] => id.parse(),
        _ => typed.parse(),
    }
}

async fn trace(State(site): State<Site>, id: Result<Path<String>, PathRejection>) -> Response {
    let typed = id.map(|Path(id)| id).unwrap_or_default();
    let id: TraceId = match typed.parse() {
        Ok(id) => id,
        Err(error) => {
            return layout::bad_request(&site.base, &format!("{typed:?} is not a trace id: {error}."));
        }
    };
    off_runtime(site, move |site| match site.ingest.store.get(id) {
        Lookup::Stored(mut stored) => {
            stored.clear_impossible_times();
            // Each span needs an id of its own, as the anchor of its row.
            stored.split_shared_ids();
            trace::page(&site.base, id, &stored).into_response()
        }
        Lookup::Evicted(eviction) => {
            layout::not_found(&site.base, "Trace evicted", &trace::evicted(id, eviction))
        }
        Lookup::Unknown => layout::not_found(&site.base, "Trace not found", &trace::unknown(id)),
    })
    .await
}

async fn not_found(State(site): State<Site>) -> Response {
    layout::not_found(&site.base, "Page not found", "There is a search page and a page for each trace.")
}

async fn off_runtime(site: Site, work: impl FnOnce(&Site) -> Response + Send + 'static) -> Response {
    let base = site.base.clone();
    let done = streaming::respond(&PAGE_PERMITS, move || Ok(work(&site))).await;
    done.unwrap_or_else(|error| match error {
        QueryError::Failed => layout::internal_error(&base),
        QueryError::Busy => layout::busy(&base),
    })
}

async fn add_security_headers(mut response: Response) -> Response {
    const POLICY: &str =
        "default-src 'none'; style-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";
    let headers: [(HeaderName, &str); 4] = [
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CACHE_CONTROL, "no-cache"),
    ];
    for (name, value) in headers {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

#[cfg(test)]
mod tests;
