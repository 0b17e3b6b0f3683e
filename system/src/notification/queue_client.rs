//! Client of the queue.

use std::time::Duration;

use crate::api::{LeaseReply, LeaseRequest, LeasedTask, SettleRequest, StatusReply};
use crate::error::Result;
use crate::peer::Peer;

/// Length of a lease. Longer than a notification takes; the tasks of a worker that is killed are redelivered after it.
const VISIBILITY: Duration = Duration::from_secs(30);

/// Wait of a long poll. Shorter than the minimum request timeout (3 s), so that an empty queue answers before it.
pub(super) const LONG_POLL: Duration = Duration::from_secs(2);

pub(super) struct QueueClient(Peer);

impl QueueClient {
    pub(super) fn new(queue: Peer) -> Self {
        Self(queue)
    }

    /// Leases up to `max` tasks. Waits up to [`LONG_POLL`] for the first; there may be none.
    pub(super) async fn lease(&self, max: usize) -> Result<Vec<LeasedTask>> {
        let request =
            LeaseRequest { max, visibility_ms: milliseconds(VISIBILITY), wait_ms: milliseconds(LONG_POLL) };
        let reply = self.0.poll("/lease", &request).await?;
        Ok(reply.json::<LeaseReply>()?.tasks)
    }

    /// Removes the task from the queue.
    pub(super) async fn ack(&self, task: &LeasedTask) -> Result<()> {
        self.settle("/ack", task, Duration::ZERO).await
    }

    /// Returns the task to the queue, which redelivers it after `delay`.
    pub(super) async fn nack(&self, task: &LeasedTask, delay: Duration) -> Result<()> {
        self.settle("/nack", task, delay).await
    }

    async fn settle(&self, path: &'static str, task: &LeasedTask, delay: Duration) -> Result<()> {
        let (id, lease, delay_ms) = (task.id.clone(), task.lease.clone(), Some(milliseconds(delay)));
        let request = SettleRequest { id, lease, delay_ms, reason: None };
        self.0.post(path, path, &request).await?.json::<StatusReply>().map(|_| ())
    }
}

fn milliseconds(duration: Duration) -> u64 {
    duration.as_millis() as u64
}
