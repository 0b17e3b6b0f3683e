//! Compression of responses with gzip, for clients that accept it.
//!
//! A streamed response is compressed while it is sent, so the bounds on unread responses hold: the next chunk is only
//! compressed when the client has read the one before.

use axum::Router;
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::middleware;
use tower_http::CompressionLevel;
use tower_http::compression::CompressionLayer;
use tower_http::compression::predicate::{NotForContentType, Predicate as _, SizeAbove};

/// Minimum length of a compressed response in bytes: a shorter one fits into one packet anyway.
const MIN_BYTES: u16 = 1024;

/// Compresses the responses of `router`, except for short ones and those that are compressed already.
pub(super) fn compressed(router: Router) -> Router {
    let worthwhile =
        SizeAbove::new(MIN_BYTES).and(NotForContentType::IMAGES).and(NotForContentType::const_new("font/"));
    // The fastest level: JSON shrinks to a tenth, and the runtime's threads also receive spans.
    let compression = CompressionLayer::new().quality(CompressionLevel::Fastest).compress_when(worthwhile);
    Router::new()
        .fallback_service(router)
        .layer(compression)
        .layer(middleware::map_request(async |request| name_gzip(request)))
}

/// Adds gzip to a request that accepts it by `*`, which `tower-http` does not interpret.
fn name_gzip(mut request: Request) -> Request {
    if let Some(wildcard) = wildcard(request.headers()) {
        request.headers_mut().append(header::ACCEPT_ENCODING, wildcard);
    }
    request
}

/// Returns gzip with the weight of `*`, if the request does not name gzip.
fn wildcard(headers: &HeaderMap) -> Option<HeaderValue> {
    let mut found = None;
    let values = headers.get_all(header::ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
    for coding in values.flat_map(|value| value.split(',')) {
        let (name, weight) = coding.split_once(';').unwrap_or((coding, ""));
        match name.trim() {
            "*" => found = Some(weight),
            name if name.eq_ignore_ascii_case("gzip") || name.eq_ignore_ascii_case("x-gzip") => return None,
            _ => {}
        }
    }
    let weight = found?.trim();
    let gzip = if weight.is_empty() { "gzip".to_owned() } else { format!("gzip;{weight}") };
    HeaderValue::try_from(gzip).ok()
}
