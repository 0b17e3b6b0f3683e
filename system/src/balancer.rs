//! Balancer: browsers and the load generator call it; it forwards each request to the next gateway in turn.
//!
//! Streams bodies in both directions. Skips a gateway that refuses connections or is not ready, until it is ready again.
//! Answers 503 if no gateway is up.

mod rotation;
#[cfg(test)]
mod tests;
mod upload;

use std::net::SocketAddr;
use std::str::FromStr;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{ConnectInfo, MatchedPath, Request, State};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Uri, header};
use axum::response::Response;
use axum::routing::any;
use clap::Args;
use http_body::Body as _;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use opentelemetry::Context;
use telemetry::arguments::ParseError;
use telemetry::client::{ClientRequest, ClientSpan};
use telemetry::contract;
use telemetry::server::LogFields;
use tokio_util::sync::CancellationToken;
use tower_http::cors::{AllowOrigin, CorsLayer};

use crate::api::{FORWARDED_FOR, SERVED_BY};
use crate::app::{self, App, Error};
use crate::error::{Code, Problem, Result};
use crate::extract;
use crate::middleware;
use crate::peer::{self, BaseUrl, PeerError};
use crate::role::Role;
use crate::settings::CommaSeparated;
use rotation::{Rotation, Upstream};
use upload::{Replayable, Upload};

/// Maximum size of a forwarded body, in bytes. The gateways' own limits are lower.
const MAX_BODY_BYTES: u64 = 1 << 20;

/// Interval between readiness probes of a gateway. Shorter than `DRAIN_MS`, for which a stopping gateway still serves.
const PROBE_INTERVAL: Duration = Duration::from_millis(200);

/// Headers that belong to one connection (RFC 9110, section 7.6.1) and are not forwarded.
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

/// Settings of the balancer.
#[derive(Debug, Clone, Args)]
#[group(skip)]
#[command(mut_args(app::Settings::defaults(Role::Balancer)))]
pub struct Settings {
    /// Base URLs of the gateways, in round-robin order, separated by commas
    #[arg(long, env = "GATEWAY_URLS", value_name = "URLS", default_value = default_gateways(), value_parser = gateway_urls)]
    gateway_urls: CommaSeparated<BaseUrl>,
    /// Origins of pages that may call the balancer from a browser, separated by commas
    #[arg(
        long,
        env = "CORS_ORIGINS",
        value_name = "ORIGINS",
        default_value = "http://localhost,http://127.0.0.1,http://localhost:8080,http://127.0.0.1:8080"
    )]
    cors_origins: CommaSeparated<Origin>,
    /// Process.
    #[command(flatten)]
    pub(crate) process: app::Settings,
}

/// The origin of a page that may call the API, such as `http://localhost:8080`. The wildcard `*` is not one.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Origin(HeaderValue);

impl FromStr for Origin {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const EXPECTED: &str = "expected origins such as http://localhost:8080, separated by commas";
        let host = text.strip_prefix("http://").or_else(|| text.strip_prefix("https://"));
        match host.map(str::parse::<Authority>) {
            Some(Ok(_)) => text.parse().map(Self).map_err(|_| EXPECTED),
            _ => Err(EXPECTED),
        }
    }
}

/// Returns the URLs of two gateways on this machine, on the default port and the next one.
fn default_gateways() -> String {
    let port = Role::Gateway.port();
    format!("http://127.0.0.1:{port},http://127.0.0.1:{}", port + 1)
}

fn gateway_urls(text: &str) -> Result<CommaSeparated<BaseUrl>, String> {
    let urls: CommaSeparated<BaseUrl> = text.parse().map_err(|error: ParseError| error.to_string())?;
    if urls.0.is_empty() { Err("must contain at least one URL".into()) } else { Ok(urls) }
}

struct Balancer {
    rotation: Arc<Rotation>,
    client: Client<HttpConnector, Replayable>,
}

/// Builds the balancer. It is ready while at least one gateway is up.
pub(crate) async fn app(settings: &Settings, shutdown: CancellationToken) -> Result<App, Error> {
    let gateways = settings.gateway_urls.0.iter().map(Upstream::new).collect();
    let rotation = Arc::new(Rotation::new(gateways));
    tokio::spawn(rotation::probe(Arc::clone(&rotation), PROBE_INTERVAL, shutdown));
    let ready = Arc::clone(&rotation);
    let routes = router(Balancer { rotation, client: peer::client() });
    let routes = middleware::requests(routes, settings.process.request_timeout);
    let routes = routes.layer(cors(settings.cors_origins.0.iter().map(|origin| origin.0.clone())));
    Ok(App { ready: Arc::new(move || Box::pin(std::future::ready(ready.any_up()))), ..App::new(routes) })
}

/// Names the public routes, so that spans and metrics distinguish them. Other paths are forwarded as well.
fn router(balancer: Balancer) -> Router {
    let router = ["/token", "/search", "/book", "/bookings"]
        .into_iter()
        .fold(Router::new(), |router, path| router.route(path, any(forward)));
    router.fallback(forward).with_state(Arc::new(balancer))
}

fn cors(origins: impl Iterator<Item = HeaderValue>) -> CorsLayer {
    CorsLayer::new()
        .allow_origin(AllowOrigin::list(origins))
        .allow_methods([http::Method::GET, http::Method::POST, http::Method::DELETE])
        .allow_headers([
            header::AUTHORIZATION,
            header::CONTENT_TYPE,
            contract::TRACEPARENT,
            contract::TRACESTATE,
        ])
        .expose_headers([SERVED_BY, contract::TRACERESPONSE])
        .max_age(Duration::from_secs(600))
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
    let body = Arc::new(Upload { unsent: Mutex::new(Some(body)), incomplete: AtomicBool::new(false) });
    for gateway in balancer.rotation.candidates() {
        let error = match balancer.send(gateway, &head, Replayable::new(&body)).await {
            Ok(response) => return Ok(response),
            Err(error) => error,
        };
        if error == PeerError::Unreachable {
            gateway.mark_down();
        }
        if body.incomplete.load(Relaxed) {
            return Err(extract::incomplete_body());
        }
        // Only a request that no gateway can have received is sent to the next one.
        let unsent = body.unsent.lock().unwrap_or_else(PoisonError::into_inner).is_some();
        if error != PeerError::Unreachable || !unsent {
            return Err(Problem::from(error));
        }
    }
    tracing::error!("no gateway is up");
    Err(Code::Unavailable.into())
}

fn prepare(headers: &mut HeaderMap, peer: Option<&ConnectInfo<SocketAddr>>) {
    strip(headers);
    // hyper sends `100 Continue` when the body is first read; the gateway must not expect it again.
    headers.remove(header::EXPECT);
    let Some(ConnectInfo(peer)) = peer else { return };
    let previous = headers.get(&FORWARDED_FOR).and_then(|value| value.to_str().ok());
    let chain = previous.map_or_else(|| peer.ip().to_string(), |hops| format!("{hops}, {}", peer.ip()));
    if let Ok(chain) = HeaderValue::from_str(&chain) {
        headers.insert(FORWARDED_FOR, chain);
    }
}

/// Removes the headers that belong to this connection: [`HOP_BY_HOP`] and those that `Connection` lists.
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
        gateway: &Upstream,
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
                tracing::warn!(upstream = gateway.name(), error = error.name(), "gateway did not answer");
                Err(error)
            }
        }
    }
}

fn target<'a>(gateway: &'a Upstream, head: &'a http::request::Parts, uri: &'a Uri) -> ClientRequest<'a> {
    ClientRequest {
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

fn relay(response: Response<hyper::body::Incoming>, gateway: &Upstream) -> Response {
    let (mut head, body) = response.into_parts();
    strip(&mut head.headers);
    let served_by = head.headers.get(&SERVED_BY).and_then(|name| name.to_str().ok());
    let fields = LogFields::default().with("upstream", served_by.unwrap_or(gateway.name()));
    head.extensions.insert(fields);
    Response::from_parts(head, Body::new(body))
}
