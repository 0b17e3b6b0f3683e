//! The callers whose trace context is continued.
//!
//! Requests of other callers start a new trace. Otherwise an untrusted caller could add spans to a trace whose id is known,
//! until the collector evicts it as too large, or hide a request by `sampled=0`.

use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use axum::extract::{ConnectInfo, Request};
use axum::http::HeaderMap;
use ipnet::IpNet;
use subtle::ConstantTimeEq as _;
use telemetry::contract;

use crate::settings::Secret;

/// A network such as `10.0.0.0/8`, or one address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Network(IpNet);

impl FromStr for Network {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let network = text.parse().or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
        network.map(Self).map_err(|_| "expected networks such as 10.0.0.0/8 or ::1/128, separated by commas")
    }
}

/// Trusted networks and the secret of other trusted callers.
#[derive(Debug, Default)]
pub(super) struct Trust {
    pub(super) networks: Vec<Network>,
    pub(super) secret: Option<Secret>,
}

impl Trust {
    /// Returns whether the caller connects from a trusted network or sends the secret.
    pub(super) fn includes(&self, request: &Request) -> bool {
        let peer = request.extensions().get::<ConnectInfo<SocketAddr>>();
        peer.is_some_and(|ConnectInfo(peer)| self.includes_address(peer.ip()))
            || self.includes_holder(request.headers())
    }

    fn includes_address(&self, address: IpAddr) -> bool {
        // A socket that accepts both versions of IP maps addresses of version 4 into version 6.
        let address = address.to_canonical();
        self.networks.iter().any(|network| network.0.contains(&address))
    }

    fn includes_holder(&self, headers: &HeaderMap) -> bool {
        let (Some(secret), Some(given)) = (&self.secret, headers.get(contract::TRACE_SECRET)) else {
            return false;
        };
        given.as_bytes().ct_eq(secret.expose().as_bytes()).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_contains_its_addresses_in_either_version() {
        let trust = |network: &str| Trust { networks: vec![network.parse().unwrap()], secret: None };
        for (network, address, included) in [
            ("127.0.0.0/8", "127.0.0.1", true),
            ("127.0.0.0/8", "::ffff:127.0.0.1", true),
            ("127.0.0.0/8", "128.0.0.1", false),
            ("127.0.0.0/8", "::1", false),
            ("::1", "::1", true),
            ("10.1.2.3", "10.1.2.4", false),
        ] {
            let address: IpAddr = address.parse().unwrap();
            assert_eq!(trust(network).includes_address(address), included, "{network} {address}");
        }
    }

    #[test]
    fn only_the_whole_secret_is_accepted() {
        let trust = Trust { networks: Vec::new(), secret: Some("0123456789abcdef".parse().unwrap()) };
        for (given, included) in
            [("0123456789abcdef", true), ("0123456789abcdeX", false), ("0123", false), ("", false)]
        {
            let mut headers = HeaderMap::new();
            headers.insert(contract::TRACE_SECRET, given.parse().unwrap());
            assert_eq!(trust.includes_holder(&headers), included, "{given}");
            assert!(!Trust::default().includes_holder(&headers), "no secret is set");
        }
    }
}
