//! Readiness probes of the gateways.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use tokio_util::sync::CancellationToken;

use crate::peer::{self, Endpoint, Endpoints};

/// Probes the readiness of every gateway at each `interval`, so that a gateway that is stopping leaves the rotation before
/// it refuses connections, and joins it again when it is ready.
pub(super) async fn probe(gateways: Arc<Endpoints>, interval: Duration, stop: CancellationToken) {
    let client = peer::client::<Body>();
    let mut ticks = tokio::time::interval(interval);
    // A gateway that hangs must not delay the probes of the others.
    let mut probes = FuturesUnordered::new();
    let mut probed = BTreeSet::new();
    loop {
        tokio::select! {
            _ = ticks.tick() => {
                let due = gateways.all().into_iter().filter(|gateway| probed.insert(gateway.address()));
                probes.extend(due.map(|gateway| probe_once(&client, gateway)));
            }
            Some(address) = probes.next() => {
                probed.remove(&address);
            }
            () = stop.cancelled() => return,
        }
    }
}

async fn probe_once(client: &Client<HttpConnector, Body>, gateway: Arc<Endpoint>) -> SocketAddr {
    peer::probe(client, &gateway).await;
    gateway.address()
}
