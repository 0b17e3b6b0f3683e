//! The student page, embedded into the binary.
//!
//! [`app_router`] serves the files of `app/`. It calls no other service: the browser sends API requests directly to the
//! balancer, on the port named by `GET /config.json`.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use axum::Router;
use axum::extract::Request;
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, HeaderName, IF_NONE_MATCH, REFERRER_POLICY,
    X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

/// An embedded file.
struct Asset {
    /// Path of its URL.
    path: &'static str,
    media_type: &'static str,
    content: &'static str,
}

const HTML: &str = "text/html; charset=utf-8";
const STYLE: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";

macro_rules! assets {
    ($folder:literal, $($path:literal = $file:literal as $media_type:expr),+ $(,)?) => {
        &[$(Asset { path: $path, media_type: $media_type, content: include_str!(concat!($folder, $file)) }),+]
    };
}

static APP: &[Asset] = assets!(
    "../app/",
    "/" = "index.html" as HTML,
    "/style.css" = "style.css" as STYLE,
    "/favicon.svg" = "favicon.svg" as "image/svg+xml",
    "/api.js" = "api.js" as SCRIPT,
    "/app.js" = "app.js" as SCRIPT,
    "/bookings.js" = "bookings.js" as SCRIPT,
    "/dom.js" = "dom.js" as SCRIPT,
    "/login.js" = "login.js" as SCRIPT,
    "/messages.js" = "messages.js" as SCRIPT,
    "/search.js" = "search.js" as SCRIPT,
    "/session.js" = "session.js" as SCRIPT,
    "/trace.js" = "trace.js" as SCRIPT,
);

static NOT_FOUND: &str = include_str!("../app/not-found.html");

/// Returns the routes of the student page. The browser reaches the balancer on port `api_port` of the page's host.
///
/// An unknown path is answered with an HTML page and status 404.
pub fn app_router(api_port: u16) -> Router {
    let config: Arc<str> = format!("{{\"api_port\":{api_port}}}").into();
    let pages = APP.iter().fold(Router::new(), |router, asset| {
        let etag = etag(asset.content);
        router.route(asset.path, get(async move |headers: HeaderMap| serve(asset, &etag, &headers)))
    });
    let policy = content_security_policy(api_port);
    pages
        .route("/config.json", get(async move || json(&config)))
        .method_not_allowed_fallback(async || {
            (StatusCode::METHOD_NOT_ALLOWED, "method not allowed: use GET or HEAD\n")
        })
        .fallback(async || (StatusCode::NOT_FOUND, [(CONTENT_TYPE, HTML)], NOT_FOUND))
        .layer(middleware::from_fn(move |request, next| secure(policy.clone(), request, next)))
}

fn serve(asset: &Asset, etag: &HeaderValue, headers: &HeaderMap) -> Response {
    // Revalidated at every load, so that a new build shows at once; an unchanged file is answered without a body.
    let caching = [(CACHE_CONTROL, HeaderValue::from_static("no-cache")), (ETAG, etag.clone())];
    if is_current(etag, headers) {
        return (StatusCode::NOT_MODIFIED, caching).into_response();
    }
    (caching, [(CONTENT_TYPE, asset.media_type)], asset.content).into_response()
}

/// Returns whether the browser has the current content (RFC 9110, 13.1.2: weak comparison, `*` matches any tag).
fn is_current(etag: &HeaderValue, headers: &HeaderMap) -> bool {
    headers
        .get_all(IF_NONE_MATCH)
        .iter()
        .flat_map(|list| list.as_bytes().split(|byte| *byte == b','))
        .map(<[u8]>::trim_ascii)
        .any(|tag| tag == b"*" || tag.strip_prefix(b"W/").unwrap_or(tag) == etag.as_bytes())
}

fn etag(content: &str) -> HeaderValue {
    let mut hasher = DefaultHasher::new();
    content.hash(&mut hasher);
    let quoted = format!("\"{:016x}\"", hasher.finish());
    HeaderValue::try_from(quoted).unwrap_or(HeaderValue::from_static("\"\""))
}

fn json(body: &str) -> Response {
    ([(CONTENT_TYPE, "application/json"), (CACHE_CONTROL, "no-store")], body.to_owned()).into_response()
}

/// Allows scripts, styles and images from this origin only, and requests to this origin and the balancer's port. The
/// host is a wildcard because the name under which the browser reaches the balancer is unknown here.
fn content_security_policy(api_port: u16) -> HeaderValue {
    let policy = format!(
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self' *:{api_port}; \
         base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'"
    );
    HeaderValue::try_from(policy).unwrap_or(HeaderValue::from_static("default-src 'none'"))
}

async fn secure(policy: HeaderValue, request: Request, next: Next) -> Response {
    const OPENER_POLICY: HeaderName = HeaderName::from_static("cross-origin-opener-policy");
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    headers.insert(CONTENT_SECURITY_POLICY, policy);
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(OPENER_POLICY, HeaderValue::from_static("same-origin"));
    response
}

#[cfg(test)]
mod tests;
