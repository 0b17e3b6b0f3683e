//! Readiness probes of the addresses of a peer, and calls whose failure starts them.

use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http::uri::PathAndQuery;
use http_body::Body;
use http_body_util::Full;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use tokio::runtime::Handle;
use tokio::time::{sleep, timeout};

use super::endpoint::Endpoint;
use super::health::Outcome;

/// Pause between two probes of an address that is down.
const REVIVAL_INTERVAL: Duration = Duration::from_millis(500);

/// An address that does not answer a probe in this time is not ready.
const PROBE_TIMEOUT: Duration = Duration::from_secs(1);

/// Probes the readiness of one address. Takes it out of the rotation if it is not ready, and puts it back if it is.
pub(crate) async fn probe<B>(client: &Client<HttpConnector, B>, endpoint: &Endpoint)
where
    B: Body + Default + Send + Unpin + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let Some(uri) = endpoint.uri(PathAndQuery::from_static("/health/ready")) else { return };
    let mut request = Request::new(B::default());
    *request.uri_mut() = uri;
    let answer = timeout(PROBE_TIMEOUT, client.request(request)).await;
    endpoint.probed(matches!(answer, Ok(Ok(response)) if response.status().is_success()));
}

/// A call of one address. Probes the address if the call takes it out of the rotation: no further call has to find out
/// whether it answers again.
pub(super) struct OpenCall<'a> {
    endpoint: &'a Arc<Endpoint>,
    client: &'a Client<HttpConnector, Full<Bytes>>,
    outcome: Outcome,
}

impl<'a> OpenCall<'a> {
    pub(super) fn begin(endpoint: &'a Arc<Endpoint>, client: &'a Client<HttpConnector, Full<Bytes>>) -> Self {
        endpoint.begin();
        Self { endpoint, client, outcome: Outcome::Dropped }
    }

    pub(super) fn end(mut self, outcome: Outcome) {
        self.outcome = outcome;
    }
}

impl Drop for OpenCall<'_> {
    fn drop(&mut self) {
        // A runtime that ends drops its calls.
        if self.endpoint.end(self.outcome)
            && let Ok(runtime) = Handle::try_current()
        {
            runtime.spawn(revive(self.client.clone(), Arc::downgrade(self.endpoint)));
        }
    }
}

/// Probes an address until it is ready or no longer in use.
async fn revive(client: Client<HttpConnector, Full<Bytes>>, endpoint: Weak<Endpoint>) {
    loop {
        sleep(REVIVAL_INTERVAL).await;
        match endpoint.upgrade() {
            Some(endpoint) if !endpoint.is_up() => probe(&client, &endpoint).await,
            _ => return,
        }
    }
}
