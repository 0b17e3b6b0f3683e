//! A task as its sender enqueued it, and its delivery to a consumer.

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::api::{DeadTask, EnqueueRequest, LeasedTask};

/// Id of a task; decimal text on the wire. Ids grow with time.
pub(super) type TaskId = u64;

/// Size of a task without its texts: its fields and its places in the queue's maps, rounded up.
const TASK_OVERHEAD_BYTES: usize = 512;

/// A task of the queue.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Task {
    pub(super) task_type: String,
    pub(super) payload: Box<RawValue>,
    /// The sender's trace context.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) otel: BTreeMap<String, String>,
    /// Id of the sender's event.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) event_id: Option<String>,
    pub(super) enqueued_at: DateTime<Utc>,
}

impl Task {
    /// Returns the task of `request`, enqueued now.
    pub(super) fn new(request: EnqueueRequest) -> Self {
        let EnqueueRequest { task_type, payload, otel, event_id } = request;
        Self { task_type, payload, otel, event_id, enqueued_at: Utc::now() }
    }

    /// Returns the size of the task in memory, approximately.
    pub(super) fn bytes(&self) -> usize {
        let otel = self.otel.iter().map(|(key, value)| key.len() + value.len()).sum::<usize>();
        // The index of the events has a copy of the id.
        let event = self.event_id.as_ref().map_or(0, |event| 2 * event.len());
        TASK_OVERHEAD_BYTES + self.task_type.len() + self.payload.get().len() + otel + event
    }

    /// Returns the task on the wire, as a dead letter.
    pub(super) fn into_dead(
        self,
        id: TaskId,
        attempts: u32,
        reason: String,
        died_at: DateTime<Utc>,
    ) -> DeadTask {
        let Self { task_type, payload, otel, event_id, enqueued_at } = self;
        let id = id.to_string();
        DeadTask { id, task_type, payload, otel, event_id, attempts, reason, enqueued_at, died_at }
    }
}

/// What became of a task that was to be enqueued.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Enqueued {
    /// It was added.
    Added(TaskId),
    /// The queue holds a task of the same event.
    Duplicate(TaskId),
}

/// A task that was just leased to a consumer.
#[derive(Debug, Clone)]
pub(super) struct Delivery {
    pub(super) id: TaskId,
    /// Id of the lease.
    pub(super) lease: String,
    pub(super) task: Task,
    /// Number of leases so far, this one included.
    pub(super) attempts: u32,
    /// Time for which the task was available before it was leased.
    pub(super) waited: Duration,
}

impl Delivery {
    /// Returns the task on the wire.
    pub(super) fn into_leased(self) -> LeasedTask {
        let Self { id, lease, task, attempts, .. } = self;
        let Task { task_type, payload, otel, event_id, enqueued_at } = task;
        LeasedTask { id: id.to_string(), lease, task_type, payload, otel, event_id, attempts, enqueued_at }
    }
}

/// A failed attempt, as its consumer reported it.
#[derive(Debug, Clone, Default)]
pub(super) struct FailedAttempt {
    /// Time before the task is redelivered; by default, the backoff of its number of attempts.
    pub(super) delay: Option<Duration>,
    /// Why it failed.
    pub(super) reason: Option<String>,
}

impl FailedAttempt {
    /// Returns the reason for the dead letters.
    pub(super) fn into_reason(self) -> String {
        self.reason.unwrap_or_else(|| "unknown".to_owned())
    }
}
