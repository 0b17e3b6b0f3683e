//! The connection that listens for announced commits.
//!
//! It is tested with a query when it has been silent for 5 s, because a half-open connection looks like a silent one. After each
//! loss the relay listens again and then wakes its loops: notifications of the meantime are lost, events are not.

use std::time::Duration;

use sqlx::PgPool;
use sqlx::postgres::{PgListener, PgPoolOptions};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use super::Backoff;
use super::metrics::RelayMetrics;
use crate::booking::outbox::CHANNEL;

/// Name of the connection in PostgreSQL's `pg_stat_activity`.
const APPLICATION_NAME: &str = "outbox listener";

/// Time without a notification after which the connection is tested.
const SILENCE: Duration = Duration::from_secs(5);

/// Maximum time of the test, and of opening the connection.
const DEADLINE: Duration = Duration::from_secs(2);

/// Wakes the loops at each notification and after each loss of the connection to the server of `pool`. Runs until it is dropped.
pub(super) async fn wake_at_notifications(pool: &PgPool, wake: &watch::Sender<()>, metrics: &RelayMetrics) {
    let mut backoff = Backoff::default();
    loop {
        match timeout(DEADLINE, listener(pool)).await {
            Ok(Ok(listener)) => {
                backoff.reset();
                metrics.listening(true);
                wake.send_replace(());
                let lost = receive(listener, wake).await;
                metrics.listening(false);
                tracing::warn!(reason = lost.reason(), "connection for notifications lost: opening another");
            }
            Ok(Err(error)) => {
                tracing::warn!(%error, "cannot listen for notifications: the relay polls");
                sleep(backoff.fail()).await;
            }
            Err(_) => {
                tracing::warn!("cannot listen for notifications in time: the relay polls");
                sleep(backoff.fail()).await;
            }
        }
    }
}

/// Opens a connection and listens. With a pool of its own, because one that is half-open never returns to its pool.
async fn listener(pool: &PgPool) -> Result<PgListener, sqlx::Error> {
    let own = PgPoolOptions::new().max_connections(1).idle_timeout(None).max_lifetime(None);
    let server = (*pool.connect_options()).clone().application_name(APPLICATION_NAME);
    let own = own.connect_lazy_with(server);
    let mut listener = PgListener::connect_with(&own).await?;
    listener.eager_reconnect(false);
    listener.listen(CHANNEL).await?;
    Ok(listener)
}

/// Why a connection ended.
enum Lost {
    Closed,
    Failed(sqlx::Error),
    Silent,
}

impl Lost {
    fn reason(&self) -> String {
        match self {
            Self::Closed => "closed by the server".into(),
            Self::Failed(error) => error.to_string(),
            Self::Silent => "no reply to a test".into(),
        }
    }
}

/// Wakes the loops at each notification until the connection is lost.
async fn receive(mut listener: PgListener, wake: &watch::Sender<()>) -> Lost {
    loop {
        match timeout(SILENCE, listener.try_recv()).await {
            Ok(Ok(Some(_))) => wake.send_replace(()),
            Ok(Ok(None)) => return Lost::Closed,
            Ok(Err(error)) => return Lost::Failed(error),
            Err(_) => match timeout(DEADLINE, sqlx::query("SELECT 1").execute(&mut listener)).await {
                Ok(Ok(_)) => {}
                Ok(Err(error)) => return Lost::Failed(error),
                Err(_) => return Lost::Silent,
            },
        }
    }
}
