//! Bodies for the empty error responses of the framework, such as 405 Method Not Allowed.

use axum::Router;
use axum::http::header;
use axum::response::{IntoResponse as _, Response};
use http_body::Body as _;
use tower::Layer as _;
use tower::util::MapResponseLayer;

/// Adds a line of text to each error response of `router` that has no body.
pub(super) fn with_error_bodies(router: Router) -> Router {
    // Wraps the finished router as a service: a layer on the routes would run before the `Allow` header is added.
    Router::new().fallback_service(MapResponseLayer::new(add_body).layer(router))
}

fn add_body(response: Response) -> Response {
    let status = response.status();
    let is_error = status.is_client_error() || status.is_server_error();
    if !is_error || response.body().size_hint().exact() != Some(0) {
        return response;
    }
    let allowed = response.headers().get(header::ALLOW).and_then(|methods| methods.to_str().ok());
    let text = match allowed {
        Some(methods) => format!("{status}: allowed methods: {methods}\n"),
        None => format!("{status}\n"),
    };
    let (mut head, _) = response.into_parts();
    head.headers.remove(header::CONTENT_LENGTH);
    (head, text).into_response()
}
