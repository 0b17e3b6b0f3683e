//! Strict round robin over the gateways that are up.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use axum::body::Body;
use axum::http::Request;
use http::Uri;
use http::uri::{Authority, InvalidUri, Scheme};
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
        for gateway in &rotation.gateways {
            let Some(uri) = gateway.uri(&Uri::from_static("/health/ready")) else { continue };
            let mut request = Request::new(Body::empty());
            *request.uri_mut() = uri;
            let answer = tokio::time::timeout(PROBE_TIMEOUT, client.request(request)).await;
            gateway.set_up(matches!(answer, Ok(Ok(response)) if response.status().is_success()));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn rotation(count: usize) -> Rotation {
        Rotation::new(
            (0..count).map(|n| Gateway::parse(&format!("http://127.0.0.1:{}", 9000 + n)).unwrap()).collect(),
        )
    }

    fn firsts(rotation: &Rotation, requests: usize) -> BTreeMap<u16, usize> {
        let mut counts = BTreeMap::new();
        for _ in 0..requests {
            *counts.entry(rotation.candidates().next().unwrap().port()).or_default() += 1;
        }
        counts
    }

    #[test]
    fn turns_are_strict() {
        assert_eq!(firsts(&rotation(2), 101), BTreeMap::from([(9000, 51), (9001, 50)]));
    }

    #[test]
    fn one_that_is_down_is_skipped_and_the_others_share_alike() {
        let rotation = rotation(3);
        rotation.gateways[1].mark_down();
        assert_eq!(firsts(&rotation, 100), BTreeMap::from([(9000, 50), (9002, 50)]));
        rotation.gateways[1].set_up(true);
        assert_eq!(firsts(&rotation, 99), BTreeMap::from([(9000, 33), (9001, 33), (9002, 33)]));
    }

    #[test]
    fn with_none_up_there_is_nothing_to_try() {
        let rotation = rotation(2);
        rotation.gateways.iter().for_each(Gateway::mark_down);
        assert_eq!(rotation.candidates().count(), 0);
        assert!(!rotation.any_up());
    }
}
