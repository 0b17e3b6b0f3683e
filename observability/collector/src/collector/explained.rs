//! No error without a word: the framework refuses methods and paths with empty replies.

use axum::Router;
use axum::http::header;
use axum::response::{IntoResponse as _, Response};
use http_body::Body as _;
use tower::Layer as _;
use tower::util::MapResponseLayer;

/// Says in its body what an error that has none is.
pub(super) fn explained(router: Router) -> Router {
    // Around the whole of it: a layer of its own would not see yet which methods are allowed.
    Router::new().fallback_service(MapResponseLayer::new(explain).layer(router))
}

fn explain(response: Response) -> Response {
    let status = response.status();
    let is_error = status.is_client_error() || status.is_server_error();
    if !is_error || response.body().size_hint().exact() != Some(0) {
        return response;
    }
    let allowed = response.headers().get(header::ALLOW).and_then(|methods| methods.to_str().ok());
    let text = match allowed {
        Some(methods) => format!("{status}: it takes {methods}\n"),
        None => format!("{status}\n"),
    };
    let (mut head, _) = response.into_parts();
    head.headers.remove(header::CONTENT_LENGTH);
    (head, text).into_response()
}
