//! The addresses of a peer, in rotation. Names among them are looked up again and again in the background.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

use super::base_url::BaseUrls;
use super::endpoint::Endpoint;
use super::known::Known;
use super::resolver;

/// All addresses of a peer.
#[derive(Debug)]
pub(crate) struct Endpoints {
    known: watch::Receiver<Known>,
    turn: AtomicUsize,
    /// Ends with this value.
    _resolver: Option<AbortOnDropHandle<()>>,
}

impl Endpoints {
    /// Returns the addresses of `urls`. If there are names among them, starts to look them up, which needs a runtime.
    pub(crate) fn new(urls: &BaseUrls) -> Self {
        Self::with_lookup(urls, resolver::system)
    }

    /// Does the same with another way to look up a host.
    pub(super) fn with_lookup<L, F>(urls: &BaseUrls, lookup: L) -> Self
    where
        L: Fn(String, u16) -> F + Send + Sync + 'static,
        F: Future<Output = io::Result<Vec<SocketAddr>>> + Send + 'static,
    {
        let literals: Vec<_> = urls.as_slice().iter().map(|url| url.literal().map(|one| vec![one])).collect();
        let has_names = literals.iter().any(Option::is_none);
        let mut known = Known::default();
        known.update(urls.as_slice(), &literals);
        known.is_complete = !has_names;
        let (sender, known) = watch::channel(known);
        let run = || tokio::spawn(resolver::run(urls.clone(), sender, lookup));
        let resolver = has_names.then(|| AbortOnDropHandle::new(run()));
        Self { known, turn: AtomicUsize::new(0), _resolver: resolver }
    }

    /// Returns every known address.
    pub(crate) fn all(&self) -> Vec<Arc<Endpoint>> {
        self.known.borrow().endpoints.clone()
    }

    /// Returns whether any address is in the rotation.
    pub(crate) fn any_up(&self) -> bool {
        self.known.borrow().endpoints.iter().any(|endpoint| endpoint.is_up())
    }

    /// Returns the addresses to try for one request: the next one in turn, then the others in the rotation.
    ///
    /// Only addresses in the rotation take turns, so each of them gets an equal share.
    pub(crate) fn up(&self) -> Vec<Arc<Endpoint>> {
        self.in_turn().0
    }

    /// Returns the addresses in the rotation as [`Endpoints::up`] does, and then the others. Waits until the names have been
    /// looked up once, if no address is known.
    pub(super) async fn up_first(&self) -> Vec<Arc<Endpoint>> {
        let is_usable = |known: &Known| known.is_complete || !known.endpoints.is_empty();
        if !is_usable(&self.known.borrow()) {
            // Fails only if the lookups have ended; then there is no address.
            let mut known = self.known.clone();
            let _ = known.wait_for(is_usable).await;
        }
        let (mut up, others) = self.in_turn();
        up.extend(others);
        up
    }

    fn in_turn(&self) -> (Vec<Arc<Endpoint>>, Vec<Arc<Endpoint>>) {
        let (mut up, others): (Vec<_>, Vec<_>) =
            self.all().into_iter().partition(|endpoint| endpoint.is_up());
        let turn = self.turn.fetch_add(1, Relaxed) % up.len().max(1);
        up.rotate_left(turn);
        (up, others)
    }
}

#[cfg(test)]
mod tests;
