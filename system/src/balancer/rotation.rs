//! Strict round robin over the gateways that are up.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use axum::body::Body;
use axum::http::Request;
use futures::future::join_all;
use http::Uri;
use http::uri::{Authority, Scheme};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use tokio_util::sync::CancellationToken;

use crate::peer::{self, BaseUrl};

/// A gateway that does not answer a probe in this time is not ready.
const PROBE_TIMEOUT: Duration = Duration::from_secs(1);

/// A gateway, and whether it is in the rotation.
#[derive(Debug)]
pub(super) struct Upstream {
    authority: Authority,
    up: AtomicBool,
}

impl Upstream {
    pub(super) fn new(url: &BaseUrl) -> Self {
        Self { authority: url.authority().clone(), up: AtomicBool::new(true) }
    }

    pub(super) fn name(&self) -> &str {
        self.authority.as_str()
    }

    pub(super) fn host(&self) -> &str {
        self.authority.host()
    }

    pub(super) fn port(&self) -> u16 {
        self.authority.port_u16().unwrap_or(80)
    }

    /// Returns the path and query of `request` at this gateway.
    pub(super) fn uri(&self, request: &Uri) -> Option<Uri> {
        let mut parts = request.clone().into_parts();
        parts.scheme = Some(Scheme::HTTP);
        parts.authority = Some(self.authority.clone());
        Uri::from_parts(parts).ok()
    }

    /// Takes the gateway out of the rotation after it refused a connection, until a probe succeeds.
    pub(super) fn mark_down(&self) {
        self.set_up(false);
    }

    async fn probe(&self, client: &Client<HttpConnector, Body>) {
        let Some(uri) = self.uri(&Uri::from_static("/health/ready")) else { return };
        let mut request = Request::new(Body::empty());
        *request.uri_mut() = uri;
        let answer = tokio::time::timeout(PROBE_TIMEOUT, client.request(request)).await;
        self.set_up(matches!(answer, Ok(Ok(response)) if response.status().is_success()));
    }

    fn set_up(&self, up: bool) {
        if self.up.swap(up, Relaxed) != up {
            tracing::info!(upstream = self.name(), up, "gateway changed");
        }
    }
}

#[derive(Debug)]
pub(super) struct Rotation {
    gateways: Vec<Upstream>,
    turn: AtomicUsize,
}

impl Rotation {
    pub(super) fn new(gateways: Vec<Upstream>) -> Self {
        Self { gateways, turn: AtomicUsize::new(0) }
    }

    pub(super) fn any_up(&self) -> bool {
        self.gateways.iter().any(|gateway| gateway.up.load(Relaxed))
    }

    /// Returns the gateways to try for one request: the next one in turn, then the others that are up.
    ///
    /// Only gateways that are up take turns, so each of them gets an equal share.
    pub(super) fn candidates(&self) -> impl Iterator<Item = &Upstream> {
        let up: Vec<&Upstream> = self.gateways.iter().filter(|gateway| gateway.up.load(Relaxed)).collect();
        let first = self.turn.fetch_add(1, Relaxed) % up.len().max(1);
        (0..up.len()).map(move |offset| up[(first + offset) % up.len()])
    }
}

/// Probes the readiness of every gateway at each `interval`, so that a gateway that is stopping leaves the rotation before
/// it refuses connections, and joins it again when it is ready.
pub(super) async fn probe(rotation: Arc<Rotation>, interval: Duration, stop: CancellationToken) {
    let client = peer::client::<Body>();
    let mut ticks = tokio::time::interval(interval);
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = stop.cancelled() => return,
        }
        // In parallel: a gateway that hangs must not delay the probes of the others.
        join_all(rotation.gateways.iter().map(|gateway| gateway.probe(&client))).await;
    }
}

#[cfg(test)]
mod tests;
