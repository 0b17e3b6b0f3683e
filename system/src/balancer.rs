//! Balancer: browsers and the load generator call it; it sends each request to the next gateway in turn.
//!
//! Streams bodies both ways. A gateway that refuses connections or is not ready is skipped until it is back; with no
//! gateway left the answer is 503.

mod rotation;
#[cfg(test)]
mod tests;
mod upload;

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{ConnectInfo, MatchedPath, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Uri, header};
use axum::response::Response;
use axum::routing::any;
use http_body::Body as _;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use opentelemetry::Context;
use telemetry::client::{ClientSpan, Target};
use telemetry::contract;
use telemetry::server::{self, Upstream};
use tokio_util::sync::CancellationToken;
use tower_http::cors::{AllowOrigin, CorsLayer};

use crate::config::{Config, ConfigError};
use crate::error::{Code, Problem, Result};
use crate::extract;
use crate::fallback;
use crate::peer::{self, PeerError};
use crate::service::{Error, Role};
use rotation::{Gateway, Rotation};
use upload::{Replayable, Upload};

/// Beyond it a request is refused before a gateway sees it. The gateways' own limits are lower.
const MAX_BODY_BYTES: u64 = 1 << 20;

/// How often a gateway is asked whether it is ready. Shorter than the time for which a stopping gateway still serves.
const PROBE_EVERY: Duration = Duration::from_millis(200);

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// Headers that belong to one connection (RFC 9110, section 7.6.1) and are not passed on.
const HOP_BY_HOP: [HeaderName; 8] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

struct Balancer {
    rotation: Arc<Rotation>,
    client: Client<HttpConnector, Replayable>,
    timeout: Duration,
}

pub(crate) fn role(config: &Config, stop: CancellationToken) -> Result<Role, Error> {
    let gateways = config.peers.gateways.iter().map(|url| Gateway::parse(url)).collect::<Result<Vec<_>, _>>();
    let gateways =
        gateways.map_err(|error| ConfigError::Invalid { name: "GATEWAY_URLS", reason: error.to_string() })?;
    let rotation = Arc::new(Rotation::new(gateways));
    tokio::spawn(rotation::probe(Arc::clone(&rotation), PROBE_EVERY, stop));
    let ready = Arc::clone(&rotation);
    let balancer = Balancer { rotation, client: peer::client(), timeout: config.request_timeout };
    let routes = server::traced(router(balancer)).layer(cors(&config.cors_origins)?);
    Ok(Role { routes, ready: Arc::new(move || Box::pin(std::future::ready(ready.any_up()))) })
}

/// The public routes by name, so that spans and metrics tell them apart; anything else goes the same way.
fn router(balancer: Balancer) -> Router {
    let router = ["/token", "/search", "/book", "/bookings"]
        .into_iter()
        .fold(Router::new(), |router, path| router.route(path, any(forward)));
    let limit = balancer.timeout;
    fallback::bounded(router.fallback(forward).with_state(Arc::new(balancer)), limit)
}

fn cors(origins: &[String]) -> Result<CorsLayer, ConfigError> {
    let origins = origins.iter().map(|origin| HeaderValue::from_str(origin)).collect::<Result<Vec<_>, _>>();
    let origins = origins.map_err(|_| ConfigError::Invalid {
        name: "CORS_ORIGINS",
        reason: "an origin has characters that no header can hold".into(),
    })?;
    Ok(CorsLayer::new()
        .allow_origin(AllowOrigin::list(origins))
        .allow_methods([http::Method::GET, http::Method::POST, http::Method::DELETE])
        .allow_headers([
            header::AUTHORIZATION,
            header::CONTENT_TYPE,
            contract::TRACEPARENT,
            contract::TRACESTATE,
        ])
        .expose_headers([HeaderName::from_static("x-served-by"), contract::TRACERESPONSE])
        .max_age(Duration::from_secs(600)))
}

async fn forward(State(balancer): State<Arc<Balancer>>, request: Request) -> Result<Response> {
    let (mut head, body) = request.into_parts();
    if head.method == http::Method::CONNECT {
        return Err(Code::MethodNotAllowed.into());
    }
    if body.size_hint().lower() > MAX_BODY_BYTES {
        return Err(Code::BodyTooLarge.into());
    }
    prepare(&mut head.headers, head.extensions.get::<ConnectInfo<SocketAddr>>());
    let body = Arc::new(Upload { unseen: Mutex::new(Some(body)), broke_off: AtomicBool::new(false) });
    for gateway in balancer.rotation.candidates() {
        let error = match balancer.send(gateway, &head, Replayable::new(&body)).await {
            Ok(response) => return Ok(response),
            Err(error) => error,
        };
        if error == PeerError::Unreachable {
            gateway.mark_down();
        }
        // Only what no gateway can have seen is sent to the next one.
        if body.broke_off.load(Relaxed) {
            return Err(extract::broke_off());
        }
        let unseen = body.unseen.lock().unwrap_or_else(PoisonError::into_inner).is_some();
        if error != PeerError::Unreachable || !unseen {
            return Err(Problem::from(error));
        }
    }
    tracing::error!("no gateway is up");
    Err(Code::Unavailable.into())
}

fn prepare(headers: &mut HeaderMap, peer: Option<&ConnectInfo<SocketAddr>>) {
    strip(headers);
    // The body is asked for when the gateway takes it; the gateway need not ask once more.
    headers.remove(header::EXPECT);
    let Some(ConnectInfo(peer)) = peer else { return };
    let before = headers.get(&FORWARDED_FOR).and_then(|value| value.to_str().ok());
    let chain = before.map_or_else(|| peer.ip().to_string(), |before| format!("{before}, {}", peer.ip()));
    if let Ok(chain) = HeaderValue::from_str(&chain) {
        headers.insert(FORWARDED_FOR, chain);
    }
}

/// Takes out what is meant for this connection: the fields above and those that `Connection` names.
fn strip(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|list| list.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    for name in HOP_BY_HOP.iter().chain(&named) {
        headers.remove(name);
    }
}

impl Balancer {
    async fn send(
        &self,
        gateway: &Gateway,
        head: &http::request::Parts,
        body: Replayable,
    ) -> Result<Response, PeerError> {
        let uri = gateway.uri(&head.uri).ok_or(PeerError::Broken)?;
        let span = ClientSpan::start(&target(gateway, head, &uri), &Context::current());
        let mut request = Request::new(body);
        *request.method_mut() = head.method.clone();
        *request.uri_mut() = uri;
        *request.headers_mut() = head.headers.clone();
        span.inject(request.headers_mut());
        match self.client.request(request).await {
            Ok(response) => {
                span.finish(response.status(), response.headers());
                Ok(relay(response, gateway))
            }
            Err(error) => {
                let error = if error.is_connect() { PeerError::Unreachable } else { PeerError::Broken };
                span.fail(error.name());
                tracing::warn!(upstream = gateway.name(), error = error.name(), "a gateway did not answer");
                Err(error)
            }
        }
    }
}

fn target<'a>(gateway: &'a Gateway, head: &'a http::request::Parts, uri: &'a Uri) -> Target<'a> {
    Target {
        method: match head.method {
            http::Method::GET => "GET",
            http::Method::POST => "POST",
            http::Method::DELETE => "DELETE",
            _ => "_OTHER",
        },
        route: head.extensions.get::<MatchedPath>().map_or("", MatchedPath::as_str),
        host: gateway.host(),
        port: gateway.port(),
        url: uri,
    }
}

fn relay(response: Response<hyper::body::Incoming>, gateway: &Gateway) -> Response {
    let (mut head, body) = response.into_parts();
    strip(&mut head.headers);
    let served_by = head.headers.get("x-served-by").and_then(|name| name.to_str().ok());
    let upstream = Upstream(served_by.unwrap_or(gateway.name()).to_owned());
    head.extensions.insert(upstream);
    Response::from_parts(head, Body::new(body))
}
