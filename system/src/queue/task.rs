//! A task as its sender enqueued it.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde_json::value::RawValue;

use crate::api::EnqueueRequest;

/// Size of a task without its texts: its fields and its places in the queue's maps, rounded up.
const TASK_OVERHEAD_BYTES: usize = 512;

/// A task of the queue.
#[derive(Debug, Clone)]
pub(super) struct Task {
    pub(super) task_type: String,
    pub(super) payload: Box<RawValue>,
    /// The sender's trace context.
    pub(super) otel: BTreeMap<String, String>,
    /// Id of the sender's event.
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
}

/// A failed attempt, as its consumer reported it.
#[derive(Debug, Clone, Default)]
pub(super) struct FailedAttempt {
    /// Time before the task is redelivered; by default, the backoff of its number of attempts.
    pub(super) delay: Option<std::time::Duration>,
    /// Why it failed.
    pub(super) reason: Option<String>,
}
