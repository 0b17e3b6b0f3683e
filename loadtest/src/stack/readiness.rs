//! Waits until roles are ready.

use std::time::Duration;

use tokio::time::Instant;

use super::START_TIMEOUT;
use super::error::{Error, io};
use super::role_process::loopback;
use crate::http_client;

/// Interval between two checks.
const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// Returns the client of the checks.
pub(crate) fn client() -> Result<reqwest::Client, Error> {
    let client = http_client::builder().timeout(Duration::from_secs(2)).build();
    client.map_err(|error| io("cannot create an HTTP client")(std::io::Error::other(error)))
}

/// Waits until all roles, given by name and port, are ready. Returns the names of those that are not ready after
/// [`START_TIMEOUT`].
pub(super) async fn all_ready(client: &reqwest::Client, mut roles: Vec<(String, u16)>) -> Vec<String> {
    let deadline = Instant::now() + START_TIMEOUT;
    loop {
        let mut waiting = Vec::new();
        for (name, port) in roles {
            if !is_ready(client, port).await {
                waiting.push((name, port));
            }
        }
        if waiting.is_empty() || Instant::now() > deadline {
            return waiting.into_iter().map(|(name, _)| name).collect();
        }
        roles = waiting;
        tokio::time::sleep(POLL_INTERVAL).await;
    }
}

/// Waits until the role on `port` is ready. Returns false if it is not after [`START_TIMEOUT`].
pub(super) async fn ready(client: &reqwest::Client, port: u16) -> bool {
    all_ready(client, vec![(String::new(), port)]).await.is_empty()
}

/// Returns whether the role on `port` is ready.
pub(crate) async fn is_ready(client: &reqwest::Client, port: u16) -> bool {
    let reply = client.get(format!("{}/health/ready", loopback(port))).send().await;
    reply.is_ok_and(|reply| reply.status().is_success())
}
