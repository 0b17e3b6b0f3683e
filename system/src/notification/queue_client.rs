//! Client of the queue.

use std::time::Duration;

use crate::api::{LeaseReply, LeaseRequest, LeasedTask, SettleRequest, StatusReply};
use crate::error::Result;
use crate::peer::Peer;

/// Wait of a long poll. Shorter than the minimum request timeout (3 s), so that an empty queue answers before it.
pub(super) const LONG_POLL: Duration = Duration::from_secs(2);

pub(super) struct QueueClient {
    queue: Peer,
    /// Length of a lease. Longer than a notification takes; the tasks of a worker that is killed are redelivered after it.
    lease: Duration,
}

impl QueueClient {
    pub(super) fn new(queue: Peer, lease: Duration) -> Self {
        Self { queue, lease }
    }

    /// Leases up to `max` tasks. Waits up to [`LONG_POLL`] for the first; there may be none.
    pub(super) async fn lease(&self, max: usize) -> Result<Vec<LeasedTask>> {
        let (visibility_ms, wait_ms) = (milliseconds(self.lease), milliseconds(LONG_POLL));
        let reply = self.queue.poll("/lease", &LeaseRequest { max, visibility_ms, wait_ms }).await?;
        Ok(reply.json::<LeaseReply>()?.tasks)
    }

    /// Removes the task from the queue.
    pub(super) async fn ack(&self, task: &LeasedTask) -> Result<()> {
        self.settle("/ack", task, None, None).await
    }

    /// Returns the task to the queue, which redelivers it after `delay`, or after a time of its own choice. After too many attempts
    /// the task becomes a dead letter with the last `reason`.
    pub(super) async fn nack(
        &self,
        task: &LeasedTask,
        delay: Option<Duration>,
        reason: String,
    ) -> Result<()> {
        self.settle("/nack", task, delay, Some(reason)).await
    }

    async fn settle(
        &self,
        path: &'static str,
        task: &LeasedTask,
        delay: Option<Duration>,
        reason: Option<String>,
    ) -> Result<()> {
        let (id, lease, delay_ms) = (task.id.clone(), task.lease.clone(), delay.map(milliseconds));
        let request = SettleRequest { id, lease, delay_ms, reason };
        self.queue.post(path, path, &request).await?.json::<StatusReply>().map(|_| ())
    }
}

fn milliseconds(duration: Duration) -> u64 {
    duration.as_millis() as u64
}
