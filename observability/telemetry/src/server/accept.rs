//! Accepts connections up to a bound.
//!
//! Without a bound, a flood of connections uses up the file descriptors of the process, and neither its other listeners nor
//! its own outbound calls work until the flood ends.

use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

use crate::metrics::{self, ConnectionProblem};
use crate::throttle::Throttle;

/// Default maximum number of open connections of a listener.
pub const MAX_CONNECTIONS: usize = 4096;

/// File descriptors that no listener uses: log, listeners, database and exporter connections.
const RESERVED_DESCRIPTORS: u64 = 64;

/// Pause after a failed accept. Without it the loop would spin while no file descriptor is free.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Interval at which a further idle connection is closed while a connection waits. The one before may have been busy.
const EVICTION_INTERVAL: Duration = Duration::from_millis(10);

/// A listener with a bound on the number of its open connections. Further connections wait.
#[derive(Debug)]
pub struct Acceptor {
    listener: TcpListener,
    permits: Arc<Semaphore>,
    idle: Arc<Notify>,
    limit: usize,
    full: Throttle,
    failed: Throttle,
}

/// A connection, and its part of the bound.
#[derive(Debug)]
pub struct Accepted {
    /// The connection.
    pub stream: TcpStream,
    /// The address of the caller.
    pub peer: SocketAddr,
    /// The permit of the connection, to be kept until it is closed.
    pub permit: OwnedSemaphorePermit,
    /// Notifies one idle connection at a time that it has to close, because another waits.
    pub(super) idle: Arc<Notify>,
}

impl From<TcpListener> for Acceptor {
    /// Uses the default bound.
    fn from(listener: TcpListener) -> Self {
        Self::new(listener, MAX_CONNECTIONS)
    }
}

impl Acceptor {
    /// Returns a listener with at most `limit` connections, and at most half of the process's file descriptors: the other
    /// half is left for outbound connections and other listeners.
    ///
    /// Raises the soft limit of file descriptors of the process to the hard limit first.
    pub fn new(listener: TcpListener, limit: usize) -> Self {
        let descriptors = descriptor_limit();
        let available = descriptors.saturating_sub(RESERVED_DESCRIPTORS) / 2;
        let limit =
            limit.min(usize::try_from(available).unwrap_or(usize::MAX)).clamp(1, Semaphore::MAX_PERMITS);
        let permits = Arc::new(Semaphore::new(limit));
        let idle = Arc::default();
        Self { listener, permits, idle, limit, full: Throttle::new(), failed: Throttle::new() }
    }

    /// Returns the address that the listener is bound to.
    ///
    /// # Errors
    ///
    /// Fails if the operating system does not return the address.
    pub fn local_addr(&self) -> std::io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Waits for the next connection and, if the bound is reached, for another one to close. Idle connections of HTTP/1.1 are
    /// closed for it, those that have been idle longest first.
    ///
    /// If the returned future is dropped, a connection that waits for another one is closed.
    pub async fn accept(&self) -> Accepted {
        loop {
            match self.listener.accept().await {
                Ok((stream, peer)) => {
                    let (permit, idle) = (self.permit().await, Arc::clone(&self.idle));
                    return Accepted { stream, peer, permit, idle };
                }
                Err(error) => {
                    metrics::count_connection_problem(ConnectionProblem::AcceptFailed);
                    if let Some(count) = self.failed.admit() {
                        tracing::warn!(%error, count, "cannot accept a connection");
                    }
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    async fn permit(&self) -> OwnedSemaphorePermit {
        if let Ok(permit) = Arc::clone(&self.permits).try_acquire_owned() {
            return permit;
        }
        metrics::count_connection_problem(ConnectionProblem::LimitReached);
        if let Some(count) = self.full.admit() {
            let limit = self.limit;
            tracing::warn!(
                limit,
                count,
                "the maximum number of connections is reached; new connections wait"
            );
        }
        let mut permit = pin!(Arc::clone(&self.permits).acquire_owned());
        loop {
            self.idle.notify_one();
            if let Ok(Ok(permit)) = tokio::time::timeout(EVICTION_INTERVAL, permit.as_mut()).await {
                // A notification that reached no connection must not close one later.
                pin!(self.idle.notified()).enable();
                return permit;
            }
        }
    }
}

/// Returns the number of file descriptors that the process may open, after raising it as far as possible.
pub fn descriptor_limit() -> u64 {
    let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else { return u64::MAX };
    match setrlimit(Resource::RLIMIT_NOFILE, hard, hard) {
        Ok(()) => hard,
        // macOS refuses an unlimited number.
        Err(_) => soft,
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    #[tokio::test]
    async fn a_connection_beyond_the_bound_waits_until_another_closes() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let acceptor = Acceptor::new(listener, 2);
        let mut callers = Vec::new();
        for _ in 0..3 {
            callers.push(TcpStream::connect(address).await.unwrap());
        }
        let first = acceptor.accept().await;
        let _second = acceptor.accept().await;
        let mut third = pin!(acceptor.accept());
        assert!(third.as_mut().now_or_never().is_none(), "the third connection waits");
        drop(first);
        let third = third.await;
        assert_eq!(third.peer, callers[2].local_addr().unwrap());
    }
}
