//! The queue as its consumer sees it.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::error::Result;
use crate::peer::Peer;

/// Far longer than a notification takes; a worker that dies holds its tasks up for so long.
const VISIBILITY: Duration = Duration::from_secs(30);

/// Shorter than the deadline of a call, so that an empty queue is an answer and not a timeout.
pub(super) const LONG_POLL: Duration = Duration::from_secs(2);

pub(super) struct Tasks(Peer);

#[derive(Debug, Deserialize)]
pub(super) struct Leased {
    pub(super) id: String,
    lease: String,
    pub(super) task_type: String,
    pub(super) payload: Box<RawValue>,
    #[serde(default)]
    pub(super) otel: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct LeaseReply {
    tasks: Vec<Leased>,
}

impl Tasks {
    pub(super) fn new(queue: Peer) -> Self {
        Self(queue)
    }

    /// Waits a while for tasks; there may be none.
    pub(super) async fn lease(&self, max: usize) -> Result<Vec<Leased>> {
        let request = json!({ "max": max, "visibility_ms": VISIBILITY.as_millis() as u64, "wait_ms": LONG_POLL.as_millis() as u64 });
        let reply = self.0.poll("/lease", &request).await?;
        Ok(reply.json::<LeaseReply>()?.tasks)
    }

    pub(super) async fn ack(&self, task: &Leased) -> Result<()> {
        self.settle("/ack", task, Duration::ZERO).await
    }

    /// Gives the task back, to be handed out again after `delay`.
    pub(super) async fn nack(&self, task: &Leased, delay: Duration) -> Result<()> {
        self.settle("/nack", task, delay).await
    }

    async fn settle(&self, path: &'static str, task: &Leased, delay: Duration) -> Result<()> {
        let request = json!({ "id": task.id, "lease": task.lease, "delay_ms": delay.as_millis() as u64 });
        self.0.post(path, path, &request).await?.json::<Value>().map(|_| ())
    }
}
