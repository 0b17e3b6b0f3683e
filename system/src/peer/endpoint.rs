//! One address of a peer.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Mutex, MutexGuard, PoisonError};

use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderValue, Uri};
use tokio::time::Instant;

use super::base_url::BaseUrl;
use super::health::{Health, Outcome};

/// One address of a peer, and whether it is in the rotation.
#[derive(Debug)]
pub(crate) struct Endpoint {
    peer: BaseUrl,
    address: SocketAddr,
    /// The address as the authority of a URI.
    authority: Authority,
    /// Value of the `Host` field.
    host: HeaderValue,
    health: Mutex<Health>,
}

impl Endpoint {
    /// Returns the endpoint of `peer` at `address`, or `None` if a URI cannot contain them.
    pub(super) fn new(peer: &BaseUrl, address: SocketAddr) -> Option<Self> {
        let authority = match address.ip() {
            IpAddr::V4(ip) => format!("{ip}:{}", address.port()),
            // Without the zone, which a URI cannot contain.
            IpAddr::V6(ip) => format!("[{ip}]:{}", address.port()),
        };
        Some(Self {
            peer: peer.clone(),
            address,
            authority: authority.parse().ok()?,
            host: HeaderValue::from_str(peer.authority().as_str()).ok()?,
            health: Mutex::new(Health::new(Instant::now())),
        })
    }

    /// Returns the base URL of the setting.
    pub(crate) fn peer(&self) -> &BaseUrl {
        &self.peer
    }

    /// Returns host and port of the setting, for logs.
    pub(crate) fn name(&self) -> &str {
        self.peer.authority().as_str()
    }

    /// Returns the address that requests are sent to.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns the `Host` field of requests: the peer as in the setting.
    pub(super) fn host(&self) -> HeaderValue {
        self.host.clone()
    }

    /// Returns the URI of `target` at this address.
    pub(crate) fn uri(&self, target: PathAndQuery) -> Option<Uri> {
        let mut parts = http::uri::Parts::default();
        parts.scheme = Some(Scheme::HTTP);
        parts.authority = Some(self.authority.clone());
        parts.path_and_query = Some(target);
        Uri::from_parts(parts).ok()
    }

    /// Returns whether the address should receive a request now.
    pub(super) fn is_up(&self) -> bool {
        self.health().is_up(Instant::now())
    }

    /// Puts the address into the rotation or takes it out, until the next probe.
    pub(crate) fn probed(&self, is_ready: bool) {
        if self.health().probed(is_ready) {
            self.log(is_ready);
        }
    }

    pub(super) fn begin(&self) {
        self.health().begin(Instant::now());
    }

    /// Records the end of a call. Returns whether the address went down.
    pub(super) fn end(&self, outcome: Outcome) -> bool {
        let went_down = self.health().end(outcome, Instant::now());
        if went_down {
            self.log(false);
        }
        went_down
    }

    fn log(&self, up: bool) {
        tracing::info!(upstream = self.name(), address = %self.address, up, "upstream changed");
    }

    fn health(&self) -> MutexGuard<'_, Health> {
        self.health.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
