//! OTLP/HTTP: `POST /v1/traces` and the paths of the other signals, in protobuf or JSON, plain or compressed. Errors are a
//! `google.rpc.Status` in the format of the request, as OTLP requires; JSON for a request in neither format.

use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;
use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::extract::rejection::BytesRejection;
use axum::extract::{ConnectInfo, DefaultBodyLimit, Request, State};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderValue, Method, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Extension, Router};
use prost::Message as _;
use serde_json::json;
use tokio::time::timeout;
use tower::util::MapRequestLayer;
use tower_http::cors::{AllowHeaders, AllowOrigin, CorsLayer};

use super::admission::{BudgetedBody, Overloaded, Reservation};
use super::encoding::{Encoding, HTTP_ENCODINGS};
use super::receiver::{Export, Format, Receiver};
use super::refusal::{REQUEST_TIMEOUT, Reason, Refusal};
use super::reply;
use super::signal::Signal;
use crate::ingest::Transport;
use crate::otlp::MAX_MESSAGE;

const PROTOBUF: &str = "application/x-protobuf";
const JSON: &str = "application/json";

/// Time for which a browser may keep the answer to a preflight request.
const PREFLIGHT_MAX_AGE: std::time::Duration = std::time::Duration::from_secs(3600);

/// An origin whose pages may send spans, such as `https://shop.example`, or `*` for every origin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CorsOrigin {
    /// Every origin, without credentials.
    Any,
    /// One origin as browsers write it: in lower case, and without a default port.
    Exactly(HeaderValue),
}

impl FromStr for CorsOrigin {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const EXPECTED: &str = "expected origins such as https://shop.example, separated by commas, or *";
        let text = text.trim().to_ascii_lowercase();
        if text == "*" {
            return Ok(Self::Any);
        }
        let (scheme, authority) = text.split_once("://").ok_or(EXPECTED)?;
        let default_port = match scheme {
            "http" => 80,
            "https" => 443,
            _ => return Err(EXPECTED),
        };
        let authority: Authority = authority.parse().map_err(|_| EXPECTED)?;
        let host = authority.host();
        if host.is_empty() || authority.as_str().contains(['@', '*']) {
            return Err(EXPECTED);
        }
        // Browsers leave out the default port.
        let port = match authority.port_u16() {
            None if authority.as_str() != host => return Err(EXPECTED),
            None => String::new(),
            Some(port) if port == default_port => String::new(),
            Some(port) => format!(":{port}"),
        };
        format!("{scheme}://{host}{port}").parse().map(Self::Exactly).map_err(|_| EXPECTED)
    }
}

/// `google.rpc.Status`, without its details.
#[derive(Clone, PartialEq, prost::Message)]
struct RpcStatus {
    #[prost(int32, tag = "1")]
    code: i32,
    #[prost(string, tag = "2")]
    message: String,
}

/// Returns the receiver's routes. Outermost first: CORS, if origins are given; refusals get a body and are counted, and the
/// time limit applies; the body reserves its bytes, and its length is limited.
pub(crate) fn router(receiver: Arc<Receiver>, origins: &[CorsOrigin]) -> Router {
    let for_bodies = Arc::clone(&receiver.budget);
    let reserve = move |mut request: Request| {
        let reservation = for_bodies.reservation();
        request.extensions_mut().insert(Arc::clone(&reservation));
        request.map(|body| Body::new(BudgetedBody::new(body, reservation)))
    };
    let routes = Signal::ALL.into_iter().fold(Router::new(), |routes, signal| {
        routes.route(signal.http_path(), post(export).layer(Extension(signal)))
    });
    let routes = routes
        .fallback(async |request: Request| Refusal::UnknownPath(request.uri().path().to_owned()))
        .method_not_allowed_fallback(async || Refusal::NotPost)
        .layer(DefaultBodyLimit::max(MAX_MESSAGE))
        .layer(MapRequestLayer::new(reserve))
        .layer(middleware::from_fn_with_state(Arc::clone(&receiver), explain_refusals))
        .with_state(receiver);
    if origins.is_empty() { routes } else { routes.layer(cors(origins)) }
}

fn cors(origins: &[CorsOrigin]) -> CorsLayer {
    let exact = origins.iter().map(|origin| match origin {
        CorsOrigin::Any => None,
        CorsOrigin::Exactly(origin) => Some(origin.clone()),
    });
    let layer = CorsLayer::new()
        .allow_methods([Method::POST])
        // SDKs send headers of their own, and users configure more.
        .allow_headers(AllowHeaders::mirror_request())
        .expose_headers([header::RETRY_AFTER])
        .max_age(PREFLIGHT_MAX_AGE);
    match exact.collect::<Option<Vec<_>>>() {
        // `navigator.sendBeacon`, which browser SDKs use, sends with credentials.
        Some(exact) => layer.allow_origin(AllowOrigin::list(exact)).allow_credentials(true),
        None => layer.allow_origin(AllowOrigin::any()),
    }
}

impl IntoResponse for Refusal {
    /// Returns a response without a body; [`explain_refusals`] adds it in the format of the request.
    fn into_response(self) -> Response {
        let mut response = self.http_status().into_response();
        response.extensions_mut().insert(self);
        response
    }
}

/// Applies the time limit, and gives every refusal a body in the format of the request.
async fn explain_refusals(State(receiver): State<Arc<Receiver>>, request: Request, next: Next) -> Response {
    let format = format(request.headers()).unwrap_or(Format::Json);
    let peer = peer(&request);
    let refusal = match timeout(REQUEST_TIMEOUT, next.run(request)).await {
        Err(_) => Refusal::Timeout,
        Ok(mut response) => match response.extensions_mut().remove::<Refusal>() {
            None => return response,
            Some(refusal) => refusal,
        },
    };
    receiver.record(&refusal, peer);
    answer(&refusal, format)
}

fn peer(request: &Request) -> Option<IpAddr> {
    request.extensions().get::<ConnectInfo<SocketAddr>>().map(|ConnectInfo(peer)| peer.ip())
}

async fn export(
    State(receiver): State<Arc<Receiver>>,
    Extension(signal): Extension<Signal>,
    Extension(reservation): Extension<Arc<Reservation>>,
    connection: Option<Extension<ConnectInfo<SocketAddr>>>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, Refusal> {
    let format = format(&headers)?;
    let encoding = Encoding::of_http(&headers)?;
    let body = body.map_err(|rejection| unread(&rejection))?;
    let peer = connection.map(|Extension(ConnectInfo(peer))| peer.ip());
    let transport = Transport::Http;
    let export = Export { signal, transport, format, encoding, body, reservation, peer };
    let partial_success = receiver.export(export).await?;
    Ok(match format {
        Format::Protobuf => {
            ([(header::CONTENT_TYPE, PROTOBUF)], reply::protobuf(partial_success)).into_response()
        }
        Format::Json => axum::Json(reply::json(signal, partial_success)).into_response(),
    })
}

fn format(headers: &HeaderMap) -> Result<Format, Refusal> {
    let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or("");
    let media_type = content_type.split(';').next().unwrap_or("").trim();
    if media_type.eq_ignore_ascii_case(PROTOBUF) {
        Ok(Format::Protobuf)
    } else if media_type.eq_ignore_ascii_case(JSON) {
        Ok(Format::Json)
    } else {
        Err(Refusal::ContentType("application/x-protobuf or application/json"))
    }
}

fn unread(rejection: &BytesRejection) -> Refusal {
    let mut cause: Option<&dyn std::error::Error> = Some(rejection);
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref::<Overloaded>() {
            return Refusal::Overloaded(*error);
        }
        cause = error.source();
    }
    if rejection.status() == axum::http::StatusCode::PAYLOAD_TOO_LARGE {
        Refusal::TooLong
    } else {
        Refusal::Unread(rejection.body_text())
    }
}

fn answer(refusal: &Refusal, format: Format) -> Response {
    let (code, message) = (refusal.code() as i32, refusal.to_string());
    let mut response = match format {
        Format::Protobuf => {
            let body = RpcStatus { code, message }.encode_to_vec();
            ([(header::CONTENT_TYPE, PROTOBUF)], body).into_response()
        }
        Format::Json => axum::Json(json!({ "code": code, "message": message })).into_response(),
    };
    *response.status_mut() = refusal.http_status();
    let headers = response.headers_mut();
    if let Some(after) = refusal.retry_after() {
        headers.insert(header::RETRY_AFTER, after.as_secs().into());
    }
    match refusal.reason() {
        Reason::Encoding => {
            headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static(HTTP_ENCODINGS));
        }
        Reason::ContentType => {
            headers
                .insert(header::ACCEPT, HeaderValue::from_static("application/x-protobuf, application/json"));
        }
        Reason::Method => {
            headers.insert(header::ALLOW, HeaderValue::from_static("POST"));
        }
        _ => {}
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_normalized_as_browsers_send_it() {
        for (text, expected) in [
            ("https://shop.example", "https://shop.example"),
            (" HTTPS://Shop.Example ", "https://shop.example"),
            ("https://shop.example:443", "https://shop.example"),
            ("http://shop.example:80", "http://shop.example"),
            ("http://shop.example:443", "http://shop.example:443"),
            ("https://shop.example:80", "https://shop.example:80"),
            ("http://localhost:08080", "http://localhost:8080"),
            ("https://[::1]:443", "https://[::1]"),
            ("http://[::80]", "http://[::80]"),
        ] {
            let origin = CorsOrigin::Exactly(HeaderValue::from_static(expected));
            assert_eq!(text.parse(), Ok(origin), "{text}");
        }
        assert_eq!("*".parse(), Ok(CorsOrigin::Any));
    }

    #[test]
    fn a_text_that_is_no_origin_is_refused() {
        for text in [
            "",
            "shop.example",
            "ftp://shop.example",
            "https://",
            "https://:443",
            "https://shop.example/",
            "https://shop.example:",
            "https://shop.example:65536",
            "https://user@shop.example",
            "https://*.shop.example",
        ] {
            assert!(text.parse::<CorsOrigin>().is_err(), "{text}");
        }
    }
}
