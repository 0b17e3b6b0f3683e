//! The relay: publishes the events of the outbox, each at least once. Every booking process runs one.
//!
//! Events of bookings go to the queue, deletions of cached slots to the cache, each kind in a loop of its own. A loop wakes at a
//! NOTIFY, when its poll interval ends, and after each loss of the connection that listens. It claims due events by moving
//! their `due_at` forward, so that no other relay takes them, and publishes them without holding a transaction open. The row
//! of an event remains until its effect, or its parking, is recorded; if neither happens, the event is due again.
//! While the queue or the cache is down, its loop pauses, and the outbox keeps the events.

mod claim;
mod listen;
mod metrics;
mod parking;
mod publish;

use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use sqlx::PgPool;
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;

use super::outbox::Commits;
use crate::api::BOOKING_NOTIFICATION;
use crate::peer::{BaseUrls, Peer};
use crate::role::Role;
use crate::settings::{self, LeaseLength, milliseconds};
use metrics::RelayMetrics;
use publish::{Destination, Outcome};

/// Connections of the relay, besides the one that listens. Apart from those of requests, so that many requests do not delay it.
const CONNECTIONS: u32 = 4;

/// Maximum number of events in one claim.
const BATCH: i64 = 100;

/// Maximum time of a call to the queue and to the cache.
const CALL_DEADLINE: Duration = Duration::from_secs(3);

/// Time after which a deletion of cached slots is repeated if the relay that claimed it was killed. Longer than the call.
const CACHE_CLAIM: Duration = Duration::from_secs(5);

/// Pause while the queue or the cache is down; doubled with each further failure, up to the maximum.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const MAX_PAUSE: Duration = Duration::from_secs(5);

/// Interval of the upkeep: parking, and the depth of the outbox.
const UPKEEP_INTERVAL: Duration = Duration::from_secs(2);

/// Age of the oldest event from which the dead letters are read. Attempts take seconds, so the event of a dead letter is older, and
/// a queue that lists its dead letters reads all of its tasks.
const MIN_AGE_OF_DEAD_LETTERS: Duration = Duration::from_secs(3);

/// Interval of the removal of expired idempotency keys.
const PURGE_INTERVAL: Duration = Duration::from_secs(60);

/// Maximum time on shutdown for the events of the last bookings to be published.
const GRACE: Duration = Duration::from_secs(2);

/// Settings of the relay.
#[derive(Debug, Clone, Args)]
#[group(skip)]
pub(super) struct Settings {
    /// Base URLs of the queue, separated by commas; a name may have several addresses
    #[arg(long, env = "QUEUE_URL", value_name = "URLS", default_value = Role::Queue.url())]
    queue_url: BaseUrls,
    /// Base URLs of the cache, separated by commas; a name may have several addresses
    #[arg(long, env = "CACHE_URL", value_name = "URLS", default_value = Role::Cache.url())]
    cache_url: BaseUrls,
    /// Time between two reads of the outbox if no commit is announced, in milliseconds (10 to 600000)
    #[arg(
        id = "outbox_poll_ms", long = "outbox-poll-ms", env = "OUTBOX_POLL_MS", value_name = "MS",
        default_value = "1000", value_parser = milliseconds(10..=600_000)
    )]
    poll: Duration,
    /// Time after which an event without an effect is published again, in milliseconds (up to 3600000, longer than
    /// NOTIFICATION_LEASE_MS)
    #[arg(
        id = "outbox_republish_ms", long = "outbox-republish-ms", env = "OUTBOX_REPUBLISH_MS", value_name = "MS",
        default_value = "35000", value_parser = milliseconds(1_000..=3_600_000)
    )]
    republish: Duration,
    /// Leases of the notification service.
    #[command(flatten)]
    lease: LeaseLength,
}

impl Settings {
    /// Checks that an event is not published again while a worker may still hold a lease of it.
    ///
    /// # Errors
    ///
    /// Fails if the time is too short.
    pub(super) fn check(&self) -> Result<(), settings::Error> {
        let lease = self.lease.duration();
        if self.republish > lease {
            return Ok(());
        }
        let reason = format!(
            "must be longer than NOTIFICATION_LEASE_MS={}, or events would be published while they are processed",
            lease.as_millis()
        );
        Err(settings::Error::Invalid { name: "OUTBOX_REPUBLISH_MS", reason })
    }
}

/// The tasks of the relay.
#[derive(Debug)]
pub(super) struct Relay {
    stop: CancellationToken,
    loops: Vec<tokio::task::JoinHandle<()>>,
}

impl Relay {
    /// Starts the relay for the events of the database of `pool`, which `commits` announces.
    pub(super) fn start(settings: &Settings, pool: &PgPool, commits: Commits) -> Self {
        let pool = own_pool(pool);
        let metrics = RelayMetrics::register();
        let (stop, (wake, woken)) = (CancellationToken::new(), watch::channel(()));
        let queue = Arc::new(Peer::new(&settings.queue_url, CALL_DEADLINE));
        let cache = Arc::new(Peer::new(&settings.cache_url, CALL_DEADLINE));
        let destinations = [
            (Destination::Queue(Arc::clone(&queue)), settings.republish),
            (Destination::Cache(cache), CACHE_CLAIM),
        ];
        let mut loops = Vec::from(destinations.map(|(destination, claim)| {
            let publisher = Publisher {
                destination,
                claim,
                poll: settings.poll,
                pool: pool.clone(),
                metrics: metrics.clone(),
            };
            tokio::spawn(publisher.run(woken.clone(), stop.clone()))
        }));
        let background = {
            let (pool, stop) = (pool.clone(), stop.clone());
            async move {
                let tasks = async {
                    tokio::join!(
                        commits.notify_relays(&pool),
                        listen::wake_at_notifications(&pool, &wake, &metrics),
                        upkeep(&pool, &queue, &metrics),
                    )
                };
                let _stopped = stop.run_until_cancelled(tasks).await;
            }
        };
        loops.push(tokio::spawn(background));
        Self { stop, loops }
    }

    /// Publishes the events that are left, for up to 2 s, and stops. The events that remain are published by another process, or
    /// after the next start.
    pub(super) async fn finish(self) {
        self.stop.cancel();
        if timeout(GRACE, futures::future::join_all(self.loops)).await.is_err() {
            tracing::warn!("the relay stops before it has published all events: the outbox keeps them");
        }
    }
}

/// Returns a pool with the same server and session limits as `pool`, whose connections are opened when they are needed.
fn own_pool(pool: &PgPool) -> PgPool {
    let options = pool.options().clone().max_connections(CONNECTIONS).min_connections(0);
    options.connect_lazy_with((*pool.connect_options()).clone())
}

/// The loop of one destination.
struct Publisher {
    destination: Destination,
    /// Time for which a claimed event is not due.
    claim: Duration,
    poll: Duration,
    pool: PgPool,
    metrics: RelayMetrics,
}

/// What a pass of a [`Publisher`] found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pass {
    /// No further event is due.
    Done,
    /// The batch was full, so that more events may be due.
    More,
    /// The database or the destination is down.
    Down,
}

impl Publisher {
    /// Publishes events until `stop`, and then those that are due at that time.
    async fn run(self, mut woken: watch::Receiver<()>, stop: CancellationToken) {
        let mut backoff = Backoff::default();
        loop {
            let stopping = stop.is_cancelled();
            woken.mark_unchanged();
            let pass = self.pass(backoff.is_down()).await;
            let pause = match pass {
                Pass::Down => backoff.fail(),
                Pass::Done | Pass::More => backoff.reset(),
            };
            self.metrics.pause(self.destination.kind(), pause);
            match pass {
                Pass::More => {}
                Pass::Done | Pass::Down if stopping => return,
                Pass::Done => {
                    // The sender lives as long as the listener, which stops with this loop.
                    let _woken = stop.run_until_cancelled(timeout(self.poll, woken.changed())).await;
                }
                Pass::Down => _ = stop.run_until_cancelled(tokio::time::sleep(pause)).await,
            }
        }
    }

    /// Claims and publishes one batch, or one event if the destination was down before.
    async fn pass(&self, was_down: bool) -> Pass {
        let limit = if was_down { 1 } else { BATCH };
        let kind = self.destination.kind();
        let events = match claim::claim(&self.pool, kind, limit, self.claim).await {
            Ok(events) => events,
            Err(error) => {
                tracing::warn!(%error, kind, "cannot read the outbox");
                return Pass::Down;
            }
        };
        let is_full = events.len() as i64 == limit;
        let publications = self.destination.publish(events).await;
        let ids = |wanted: Outcome| -> Vec<i64> {
            let of_it = publications.iter().filter(|publication| publication.outcome == wanted);
            of_it.map(|publication| publication.id).collect()
        };
        let (published, returned) = (ids(Outcome::Published), ids(Outcome::Unavailable));
        self.metrics.published(kind, &publications);
        let is_down = !returned.is_empty();
        if let Err(error) = self.settle(published, returned).await {
            // The events are due again when their claim ends.
            tracing::warn!(%error, kind, "cannot update the outbox");
            return Pass::Down;
        }
        match (is_down, is_full) {
            (true, _) => Pass::Down,
            (false, true) => Pass::More,
            (false, false) => Pass::Done,
        }
    }

    /// Makes the events that were not published due again. Deletes those whose publication is their effect.
    async fn settle(&self, published: Vec<i64>, returned: Vec<i64>) -> Result<(), sqlx::Error> {
        if matches!(self.destination, Destination::Cache(_)) && !published.is_empty() {
            claim::delete(&self.pool, published).await?;
        }
        if !returned.is_empty() {
            claim::release(&self.pool, returned).await?;
        }
        Ok(())
    }
}

/// Parks dead letters, measures the outbox and removes expired idempotency keys, at intervals. Runs until it is dropped.
async fn upkeep(pool: &PgPool, queue: &Peer, metrics: &RelayMetrics) {
    let mut interval = interval(UPKEEP_INTERVAL);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut purge_at = Instant::now();
    loop {
        interval.tick().await;
        match claim::depth(pool).await {
            Ok(depth) => {
                metrics.depth(&depth);
                let may_be_dead = |kind: &str, age: f64| {
                    kind == BOOKING_NOTIFICATION && age >= MIN_AGE_OF_DEAD_LETTERS.as_secs_f64()
                };
                if depth.iter().any(|(kind, _, age)| may_be_dead(kind, *age)) {
                    parking::park(pool, queue, metrics).await;
                }
            }
            Err(error) => tracing::warn!(%error, "cannot measure the outbox"),
        }
        if Instant::now() >= purge_at {
            purge_at = Instant::now() + PURGE_INTERVAL;
            if let Err(error) = claim::purge_idempotency_keys(pool).await {
                tracing::warn!(%error, "cannot remove expired idempotency keys");
            }
        }
    }
}

/// The pauses of a loop whose destination is down.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Backoff(Duration);

impl Backoff {
    fn is_down(self) -> bool {
        !self.0.is_zero()
    }

    /// Returns the pause after a further failure.
    fn fail(&mut self) -> Duration {
        self.0 = (2 * self.0).clamp(FIRST_PAUSE, MAX_PAUSE);
        self.0
    }

    /// Ends the pauses.
    fn reset(&mut self) -> Duration {
        self.0 = Duration::ZERO;
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::parse;

    #[test]
    fn pauses_double_up_to_a_maximum_and_end_with_a_success() {
        let mut backoff = Backoff::default();
        assert!(!backoff.is_down());
        let pauses: Vec<u128> = (0..8).map(|_| backoff.fail().as_millis()).collect();
        assert_eq!(pauses, [100, 200, 400, 800, 1600, 3200, 5000, 5000]);
        backoff.reset();
        assert!(!backoff.is_down());
        assert_eq!(backoff.fail(), FIRST_PAUSE);
    }

    #[test]
    fn an_event_is_not_published_again_during_a_lease() {
        let check = |arguments: &[&str]| parse::<Settings>(arguments).unwrap().check();
        assert!(check(&[]).is_ok());
        assert!(check(&["--outbox-republish-ms", "2000", "--notification-lease-ms", "1000"]).is_ok());
        for republish in ["30000", "29999"] {
            let error = check(&["--outbox-republish-ms", republish]).unwrap_err().to_string();
            assert!(error.contains("longer than NOTIFICATION_LEASE_MS=30000"), "{error}");
        }
    }

    #[test]
    fn a_killed_relay_cannot_publish_what_another_one_claimed() {
        assert!(CALL_DEADLINE < CACHE_CLAIM);
    }
}
