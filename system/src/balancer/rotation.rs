//! Strict round robin over the gateways that are up.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use axum::body::Body;
use axum::http::Request;
use futures::future::join_all;
use http::Uri;
use http::uri::{Authority, InvalidUri, Scheme};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use tokio_util::sync::CancellationToken;

use crate::peer;

/// A probe that takes longer counts as not ready.
const PROBE_TIMEOUT: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(super) struct Gateway {
    authority: Authority,
    up: AtomicBool,
}

impl Gateway {
    pub(super) fn parse(url: &str) -> Result<Self, InvalidUri> {
        let authority = url.trim_start_matches("http://").trim_end_matches('/').parse()?;
        Ok(Self { authority, up: AtomicBool::new(true) })
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

    /// The request's own path and query, at this gateway.
    pub(super) fn uri(&self, request: &Uri) -> Option<Uri> {
        let mut parts = request.clone().into_parts();
        parts.scheme = Some(Scheme::HTTP);
        parts.authority = Some(self.authority.clone());
        Uri::from_parts(parts).ok()
    }

    /// It refused a connection; the probe brings it back.
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
            tracing::info!(upstream = self.name(), up, "gateway");
        }
    }
}

#[derive(Debug)]
pub(super) struct Rotation {
    gateways: Vec<Gateway>,
    turn: AtomicUsize,
}

impl Rotation {
    pub(super) fn new(gateways: Vec<Gateway>) -> Self {
        Self { gateways, turn: AtomicUsize::new(0) }
    }

    pub(super) fn any_up(&self) -> bool {
        self.gateways.iter().any(|gateway| gateway.up.load(Relaxed))
    }

    /// The gateways to try for one request: the one whose turn it is, then the others that are up.
    ///
    /// The turn goes round among those that are up, so that one being down leaves the others with equal shares.
    pub(super) fn candidates(&self) -> impl Iterator<Item = &Gateway> {
        let up: Vec<&Gateway> = self.gateways.iter().filter(|gateway| gateway.up.load(Relaxed)).collect();
        let first = self.turn.fetch_add(1, Relaxed) % up.len().max(1);
        (0..up.len()).map(move |offset| up[(first + offset) % up.len()])
    }
}

/// Asks each gateway again and again whether it is ready, so that one that stops is skipped before it refuses, and one
/// that is back is used again.
pub(super) async fn probe(rotation: Arc<Rotation>, every: Duration, stop: CancellationToken) {
    let client = peer::client::<Body>();
    let mut ticks = tokio::time::interval(every);
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = stop.cancelled() => return,
        }
        // At once: one that hangs must not keep the news of the others.
        join_all(rotation.gateways.iter().map(|gateway| gateway.probe(&client))).await;
    }
}

#[cfg(test)]
mod tests;
