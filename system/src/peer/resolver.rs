//! Looks up the names among the addresses of a peer, again and again: instances come and go behind one name.

use std::collections::BTreeSet;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use futures::future::join_all;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use super::base_url::{BaseUrl, BaseUrls};
use super::known::Known;

/// Pause between two lookups of all names.
pub(super) const INTERVAL: Duration = Duration::from_secs(2);

/// Maximum duration of one lookup.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(3);

/// Looks up a host by the system's resolver: `/etc/hosts`, then name servers.
pub(super) async fn system(host: String, port: u16) -> io::Result<Vec<SocketAddr>> {
    Ok(tokio::net::lookup_host((host, port)).await?.collect())
}

/// Updates the addresses in `known` by `lookup` until nobody reads them. A name that does not resolve keeps its addresses and
/// is looked up again; the first failure in a row is logged.
pub(super) async fn run<L, F>(urls: BaseUrls, known: watch::Sender<Known>, lookup: L)
where
    L: Fn(String, u16) -> F,
    F: Future<Output = io::Result<Vec<SocketAddr>>>,
{
    let mut failing = BTreeSet::new();
    while !known.is_closed() {
        let found = join_all(urls.as_slice().iter().map(|url| look_up(url, &lookup))).await;
        for (url, found) in urls.as_slice().iter().zip(&found) {
            log_failure(&mut failing, url, found);
        }
        let found: Vec<Option<Vec<SocketAddr>>> = found.into_iter().map(Result::ok).collect();
        known.send_if_modified(|known| {
            let before = (known.addresses(), known.is_complete);
            known.update(urls.as_slice(), &found);
            known.is_complete = true;
            let is_changed = before != (known.addresses(), true);
            if before.0 != known.addresses() {
                tracing::info!(peer = %urls, addresses = ?known.addresses(), "addresses changed");
            }
            is_changed
        });
        sleep(INTERVAL).await;
    }
}

async fn look_up<L, F>(url: &BaseUrl, lookup: &L) -> io::Result<Vec<SocketAddr>>
where
    L: Fn(String, u16) -> F,
    F: Future<Output = io::Result<Vec<SocketAddr>>>,
{
    if let Some(address) = url.literal() {
        return Ok(vec![address]);
    }
    let found = timeout(LOOKUP_TIMEOUT, lookup(url.host().to_owned(), url.port())).await??;
    if found.is_empty() { Err(io::Error::new(io::ErrorKind::NotFound, "no address")) } else { Ok(found) }
}

fn log_failure<T>(failing: &mut BTreeSet<String>, url: &BaseUrl, found: &io::Result<T>) {
    let name = url.to_string();
    match found {
        Ok(_) => {
            failing.remove(&name);
        }
        Err(error) => {
            if failing.insert(name) {
                tracing::warn!(peer = %url, %error, "the name does not resolve: it is looked up every 2 s");
            }
        }
    }
}
