//! Balancer: browsers and the load generator call it; it forwards each request to the next gateway in turn.
//!
//! Streams bodies in both directions. Skips a gateway that refuses connections or is not ready, until it is ready again.
//! Sends an idempotent request once more, to the next gateway, if the connection broke without a reply, but not a `DELETE`.
//! Answers 503 if no gateway is up.

mod headers;
mod probe;
#[cfg(test)]
mod tests;
mod trust;
mod upload;

use std::path::PathBuf;
use std::str::FromStr;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{MatchedPath, Request, State};
use axum::http::uri::{Authority, PathAndQuery};
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::response::Response;
use axum::routing::any;
use clap::Args;
use http_body::Body as _;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use opentelemetry::Context;
use telemetry::client::{ClientRequest, ClientSpan};
use telemetry::contract;
use telemetry::server::LogFields;
use tokio_util::sync::CancellationToken;
use tower::retry::budget::{Budget as _, TpsBudget};
use tower_http::cors::{AllowOrigin, CorsLayer};
use tower_http::timeout::TimeoutBody;

use crate::api::{IDEMPOTENCY_KEY, SERVED_BY};
use crate::app::{self, App, Error};
use crate::error::{Code, Problem, Result};
use crate::extract;
use crate::middleware;
use crate::peer::{self, BaseUrls, Endpoint, Endpoints, PeerError};
use crate::role::Role;
use crate::settings::{self, CommaSeparated, Secret};
use trust::{Network, Trust};
use upload::{Replayable, Upload};

/// Maximum size of a forwarded body, in bytes. The gateways' own limits are lower.
const MAX_BODY_BYTES: u64 = 1 << 20;

/// The routes of the gateways.
const PUBLIC_ROUTES: [&str; 7] =
    ["/token", "/search", "/subjects", "/book", "/bookings", "/bookings/{id}", "/tutors/{id}/slots"];

/// Interval between readiness probes of a gateway. Shorter than `DRAIN_MS`, for which a stopping gateway still serves.
const PROBE_INTERVAL: Duration = Duration::from_millis(200);

/// Minimum length of the secret of trusted callers, in bytes.
const MIN_SECRET_BYTES: usize = 16;

/// Settings of the balancer.
#[derive(Debug, Clone, Args)]
#[group(skip)]
#[command(mut_args(app::Settings::defaults(Role::Balancer)))]
pub struct Settings {
    /// Base URLs of the gateways, in round-robin order, separated by commas; a name may have several addresses
    #[arg(long, env = "GATEWAY_URLS", value_name = "URLS", default_value = default_gateways())]
    gateway_urls: BaseUrls,
    /// Origins of pages that may call the balancer from a browser, separated by commas
    #[arg(
        long,
        env = "CORS_ORIGINS",
        value_name = "ORIGINS",
        default_value = "http://localhost,http://127.0.0.1,http://localhost:8080,http://127.0.0.1:8080"
    )]
    cors_origins: CommaSeparated<Origin>,
    /// Networks of callers whose traces are continued, such as 10.0.0.0/8, separated by commas; empty for none. The traces of
    /// other callers are new ones with a link to the caller's
    #[arg(long, env = "TRUST_TRACEPARENT", value_name = "NETWORKS", default_value = "")]
    trust_traceparent: CommaSeparated<Network>,
    /// Secret of at least 16 bytes; traces of callers that send it in the header x-trace-secret are continued as well
    #[arg(long, env = "TRUST_TRACEPARENT_SECRET", value_name = "SECRET", hide_env_values = true)]
    trust_traceparent_secret: Option<Secret>,
    /// File that contains this secret; takes precedence over --trust-traceparent-secret
    #[arg(long, env = "TRUST_TRACEPARENT_SECRET_FILE", value_name = "FILE")]
    trust_traceparent_secret_file: Option<PathBuf>,
    /// Process.
    #[command(flatten)]
    pub(crate) process: app::Settings,
}

impl Settings {
    fn trust(&self) -> Result<Trust, settings::Error> {
        const NAME: &str = "TRUST_TRACEPARENT_SECRET";
        let (value, file) =
            (self.trust_traceparent_secret.as_ref(), self.trust_traceparent_secret_file.as_deref());
        let given = value.is_some() || file.is_some();
        let secret = given.then(|| settings::secret(NAME, value, file, "")).transpose()?;
        if secret.as_ref().is_some_and(|secret| secret.expose().len() < MIN_SECRET_BYTES) {
            let reason = format!("must have at least {MIN_SECRET_BYTES} bytes");
            return Err(settings::Error::Invalid { name: NAME, reason });
        }
        Ok(Trust { networks: self.trust_traceparent.0.clone(), secret })
    }
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

struct Balancer {
    gateways: Arc<Endpoints>,
    client: Client<HttpConnector, Replayable>,
    budget: TpsBudget,
    /// Maximum time without progress of a reply's body.
    reply_timeout: Duration,
}

/// Builds the balancer. It is ready while at least one gateway is up.
pub(crate) async fn app(settings: &Settings, shutdown: CancellationToken) -> Result<App, Error> {
    let gateways = Arc::new(Endpoints::new(&settings.gateway_urls));
    tokio::spawn(probe::probe(Arc::clone(&gateways), PROBE_INTERVAL, shutdown));
    let ready = Arc::clone(&gateways);
    let limit = settings.process.request_timeout;
    let balancer =
        Balancer { gateways, client: peer::client(), budget: peer::retry_budget(), reply_timeout: limit };
    let trust = Arc::new(settings.trust()?);
    let routes = middleware::public_requests(router(balancer), limit, move |request| trust.includes(request));
    let routes = routes.layer(cors(settings.cors_origins.0.iter().map(|origin| origin.0.clone())));
    Ok(App { ready: Arc::new(move || Box::pin(std::future::ready(ready.any_up()))), ..App::new(routes) })
}

/// Names the public routes, so that spans and metrics distinguish them. Other paths are forwarded as well.
fn router(balancer: Balancer) -> Router {
    let router =
        PUBLIC_ROUTES.into_iter().fold(Router::new(), |router, path| router.route(path, any(forward)));
    router.fallback(forward).with_state(Arc::new(balancer))
}

fn cors(origins: impl Iterator<Item = HeaderValue>) -> CorsLayer {
    CorsLayer::new()
        .allow_origin(AllowOrigin::list(origins))
        .allow_methods([Method::GET, Method::POST, Method::DELETE])
        .allow_headers([
            header::AUTHORIZATION,
            header::CONTENT_TYPE,
            IDEMPOTENCY_KEY,
            contract::TRACEPARENT,
            contract::TRACESTATE,
        ])
        .expose_headers([SERVED_BY, contract::TRACERESPONSE, header::RETRY_AFTER])
        .max_age(Duration::from_secs(600))
}

async fn forward(State(balancer): State<Arc<Balancer>>, request: Request) -> Result<Response> {
    let (mut head, body) = request.into_parts();
    // A tunnel is not offered, and a `TRACE` would show the caller what the balancer adds.
    if [Method::CONNECT, Method::TRACE].contains(&head.method) {
        return Err(Code::MethodNotAllowed.into());
    }
    if body.size_hint().lower() > MAX_BODY_BYTES {
        return Err(Code::BodyTooLarge.into());
    }
    headers::prepare_request(&mut head);
    balancer.budget.deposit();
    let body = Arc::new(Upload { unsent: Mutex::new(Some(body)), incomplete: AtomicBool::new(false) });
    let gateways = balancer.gateways.up();
    let (mut next, mut repeated) = (0, false);
    while let Some(gateway) = gateways.get(next) {
        let error = match balancer.send(gateway, &head, Replayable::new(&body)).await {
            Ok(response) => return Ok(response),
            Err(error) => error,
        };
        if error == PeerError::Unreachable {
            gateway.probed(false);
        }
        if body.incomplete.load(Relaxed) {
            return Err(extract::incomplete_body());
        }
        let unsent = body.unsent.lock().unwrap_or_else(PoisonError::into_inner).is_some();
        match error {
            // No gateway can have received the request.
            PeerError::Unreachable if unsent => next += 1,
            PeerError::Broken if unsent && !repeated && balancer.may_repeat(&head.method) => {
                repeated = true;
                next = (next + 1).min(gateways.len() - 1);
            }
            _ => return Err(Problem::from(error)),
        }
    }
    tracing::error!("no gateway is up");
    Err(Code::Unavailable.into())
}

impl Balancer {
    /// Returns whether a request that may have been processed can be sent again, and takes it from the retry budget. `DELETE`
    /// is idempotent (RFC 9110, section 9.2.2), but the second one is answered with `already_cancelled`: its caller would not
    /// learn that the first one succeeded.
    fn may_repeat(&self, method: &Method) -> bool {
        method.is_idempotent() && method != Method::DELETE && self.budget.withdraw()
    }

    async fn send(
        &self,
        gateway: &Endpoint,
        head: &http::request::Parts,
        body: Replayable,
    ) -> Result<Response, PeerError> {
        let target = head.uri.path_and_query().cloned().unwrap_or(PathAndQuery::from_static("/"));
        let span = span(gateway, head, &target);
        let uri = gateway.uri(target).ok_or(PeerError::Broken)?;
        let mut request = Request::new(body);
        *request.method_mut() = head.method.clone();
        *request.uri_mut() = uri;
        *request.headers_mut() = head.headers.clone();
        span.inject(request.headers_mut());
        let answered = self.client.request(request).await.map_err(|error| PeerError::from(&error));
        match answered {
            Ok(response) if response.status() != StatusCode::SWITCHING_PROTOCOLS => {
                span.finish(response.status(), response.headers());
                Ok(self.relay(response, gateway))
            }
            other => {
                // No request asks for another protocol.
                let error = other.err().unwrap_or(PeerError::Malformed);
                span.fail(error.name());
                tracing::warn!(upstream = gateway.name(), address = %gateway.address(), error = error.name(), "gateway did not answer");
                Err(error)
            }
        }
    }

    fn relay(&self, response: Response<hyper::body::Incoming>, gateway: &Endpoint) -> Response {
        let (mut head, body) = response.into_parts();
        headers::prepare_response(&mut head);
        let served_by = head.headers.get(&SERVED_BY).and_then(|name| name.to_str().ok());
        let fields = LogFields::default().with("upstream", served_by.unwrap_or(gateway.name()));
        head.extensions.insert(fields);
        // A complete body needs no timer.
        let body = match body.is_end_stream() {
            true => Body::empty(),
            false => Body::new(TimeoutBody::new(self.reply_timeout, body)),
        };
        Response::from_parts(head, body)
    }
}

/// Starts the span of a request for `target` at a gateway.
fn span(gateway: &Endpoint, head: &http::request::Parts, target: &PathAndQuery) -> ClientSpan {
    let request = ClientRequest {
        method: match head.method {
            Method::GET => "GET",
            Method::POST => "POST",
            Method::DELETE => "DELETE",
            Method::HEAD => "HEAD",
            _ => "_OTHER",
        },
        route: head.extensions.get::<MatchedPath>().map_or("", MatchedPath::as_str),
        host: gateway.peer().host(),
        port: gateway.peer().port(),
        url: &format_args!("{}{target}", gateway.peer()),
    };
    ClientSpan::start(&request, &Context::current()).with_network_peer(gateway.address())
}
