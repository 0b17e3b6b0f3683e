//! The addresses of a peer that are known now.

use std::net::SocketAddr;
use std::sync::Arc;

use super::base_url::BaseUrl;
use super::endpoint::Endpoint;

/// The addresses that are known now.
#[derive(Debug, Default)]
pub(super) struct Known {
    pub(super) endpoints: Vec<Arc<Endpoint>>,
    /// Whether every name has been looked up at least once.
    pub(super) is_complete: bool,
}

impl Known {
    /// Sets the addresses of each URL. Without addresses, a URL keeps those that it had. An address that was known keeps its
    /// health; one that several URLs share is used once.
    pub(super) fn update(&mut self, urls: &[BaseUrl], found: &[Option<Vec<SocketAddr>>]) {
        let mut endpoints: Vec<Arc<Endpoint>> = Vec::new();
        for (url, found) in urls.iter().zip(found) {
            let before = || self.endpoints.iter().filter(|endpoint| endpoint.peer() == url);
            let addresses = match found {
                // In a fixed order: name servers shuffle their replies.
                Some(found) => sorted(found),
                None => before().map(|endpoint| endpoint.address()).collect(),
            };
            for address in addresses {
                let known = before().find(|endpoint| endpoint.address() == address).cloned();
                let endpoint = known.or_else(|| Endpoint::new(url, address).map(Arc::new));
                let is_new = endpoints.iter().all(|endpoint| endpoint.address() != address);
                endpoints.extend(endpoint.filter(|_| is_new));
            }
        }
        self.endpoints = endpoints;
    }

    pub(super) fn addresses(&self) -> Vec<SocketAddr> {
        self.endpoints.iter().map(|endpoint| endpoint.address()).collect()
    }
}

fn sorted(addresses: &[SocketAddr]) -> Vec<SocketAddr> {
    let mut addresses = addresses.to_vec();
    addresses.sort_unstable();
    addresses
}

#[cfg(test)]
mod tests;
